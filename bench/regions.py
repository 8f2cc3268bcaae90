"""Where in a series something is measured: tissues, bands of distance from the centre, thirds of z."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from cases import Case
from details import box_sd
from numpy.typing import NDArray
from scipy import ndimage

from ctmahout import CtmahoutError
from ctmahout.denoising.noise import NoiseModel
from ctmahout.denoising.patches.two_passes import measure_noise
from ctmahout.engines.workers import Threads

__all__ = ["BANDS", "Regions", "likeness", "map_ratio", "means", "noise_map", "taken"]

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

TISSUES = {"lung": (-960.0, -600.0), "fat": (-150.0, -50.0), "soft": (-20.0, 200.0), "bone": (250.0, np.inf)}
BANDS = 5
# Of a head, whose truth alone can tell them apart.
MATTER = {"white": (27.0, 32.5), "grey": (34.5, 42.0)}
_BORDER_PX = 8
_FLAT_HU = 40.0
_BOXES, _JUDGED = 600, 5000


class Regions:
    """Tissues of a case, by its truth; if there is none, by the slices on both sides, whose noise is another.

    Attributes
    ----------
    tissues : dict of str to ndarray of shape (z, y, x), bool
    band : ndarray of shape (y, x), int
        0 to 4: the distance from the body's centre, in fifths of the farthest.
    third : ndarray of shape (z,), int
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        seen = _neighbours(case.volume.hu) if case.clean is None else case.clean
        self.seen = seen
        inside = np.stack([ndimage.binary_fill_holes(_largest(image > -400)) for image in seen])
        if case.volume.padding is not None:
            inside &= ~case.volume.padding
        self.body: Mask = inside
        self.tissues = {name: inside & (seen > low) & (seen < high) for name, (low, high) in TISSUES.items()}
        rows, columns = seen.shape[1:]
        y, x = np.mgrid[:rows, :columns]
        within = inside.any(axis=0)
        from_centre = np.hypot(y - y[within].mean(), x - x[within].mean())
        self.band = np.minimum(BANDS * from_centre / np.quantile(from_centre[within], 0.995), BANDS - 1).astype(int)
        self.third = np.arange(len(seen)) * 3 // len(seen)

    def each(self, mask: Mask) -> dict[str, Mask]:
        """Return a mask by band and third of z."""
        bands = {f"band {b}": mask & (self.band == b) for b in range(BANDS)}
        return bands | {f"third {t}": mask & (self.third == t)[:, None, None] for t in range(3)}

    def flat(self, tissue: str) -> NDArray[np.intp]:
        """Return places in a tissue with little anatomy within 6 pixels, the flattest first: shape (n, 3)."""
        wide = (1, 13, 13)
        smooth = ndimage.gaussian_filter(self.seen, (0, 2, 2))
        span = ndimage.maximum_filter(smooth, wide) - ndimage.minimum_filter(smooth, wide)
        ok = ndimage.minimum_filter(self.tissues[tissue], (1, 7, 7)) & (span < _FLAT_HU)
        ok[:, :7] = ok[:, -7:] = ok[:, :, :7] = ok[:, :, -7:] = False
        found = np.argwhere(ok)
        found = found[np.random.default_rng(0).permutation(len(found))[:_JUDGED]]
        if not len(found):
            return found
        # A judgement by the noise that is to be measured would choose places by their noise.
        return found[np.argsort(box_sd(self.seen, found, each=True), kind="stable")]


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(ndimage.binary_opening(mask, iterations=2))
    if not count:
        return np.ones_like(mask)
    largest: Mask = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return largest


def _neighbours(hu: Float32) -> Float32:
    """Return the mean of the slices before and after each, smoothed by 2 pixels."""
    around = np.concatenate([hu[1:2], hu, hu[-2:-1]])
    mean: Float32 = ndimage.gaussian_filter(0.5 * (around[:-2] + around[2:]), (0, 2, 2))
    return mean


def noise_map(case: Case) -> Float32 | None:
    """Return the SD of the noise as our method measures it, HU; None if it finds none."""
    hu = case.volume.hu
    try:
        found = measure_noise(hu, case.volume.geometry, Threads())
    except CtmahoutError:
        return None
    return found.sigma_hu(0, *hu.shape) if isinstance(found, NoiseModel) else None


def map_ratio(case: Case, regions: Regions, measured: Float32) -> list[dict[str, Any]]:
    """Return the map's median ratio to the truth in each region.

    Without a known truth the SD in flat boxes stands for it, which holds what anatomy there is in them.
    """
    rows = []
    for tissue in ("soft", "fat", "lung"):
        row: dict[str, Any] = {"case": case.name, "tissue": tissue}
        if case.sigma is not None:
            mask = regions.tissues[tissue]
            ratio = measured / np.maximum(case.sigma, 1e-3)
            cells = {"all": mask, **regions.each(mask)}
            row |= {name: float(np.median(ratio[m])) if m.sum() > 200 else None for name, m in cells.items()}
        else:
            at = _spread_out(regions, regions.flat(tissue))
            row |= {
                name: float(np.median(measured[tuple(part.T)])) / box_sd(case.volume.hu, part)
                for name, part in _by_region(regions, at).items()
                if len(part) > 7
            }
        figures = [v for k, v in row.items() if k not in ("case", "tissue", "all") and v is not None]
        row |= {"lowest": min(figures, default=None), "highest": max(figures, default=None)}
        if figures:
            rows.append(row)
    return rows


def _spread_out(regions: Regions, at: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return places of which every band has its share."""
    bands = [at[regions.band[at[:, 1], at[:, 2]] == b][: _BOXES // BANDS] for b in range(BANDS)]
    return np.concatenate(bands) if len(at) else at


def _by_region(regions: Regions, at: NDArray[np.intp]) -> dict[str, NDArray[np.intp]]:
    band, third = regions.band[at[:, 1], at[:, 2]], regions.third[at[:, 0]]
    return (
        {"all": at}
        | {f"band {b}": at[band == b] for b in range(BANDS)}
        | {f"third {t}": at[third == t] for t in range(3)}
    )


def taken(case: Case, regions: Regions, after: Float32) -> list[dict[str, Any]]:
    """Return the share of the noise's SD that is gone, by region, from boxes less their planes."""
    clean = np.float32(0) if case.clean is None else case.clean
    rows = []
    for tissue in ("soft", "fat", "lung"):
        at = _spread_out(regions, regions.flat(tissue))
        row: dict[str, Any] = {"case": case.name, "tissue": tissue}
        for name, part in _by_region(regions, at).items():
            if len(part) > 7:
                row[name] = 1 - box_sd(after - clean, part) / box_sd(case.volume.hu - clean, part)
        bands = [row[f"band {b}"] for b in range(BANDS) if f"band {b}" in row]
        if bands:
            each = 1 - box_sd(after - clean, at, each=True) / box_sd(case.volume.hu - clean, at, each=True)
            rows.append(row | {"spread": max(bands) - min(bands), "tenth": float(np.quantile(each, 0.1))})
    return rows


def means(case: Case, regions: Regions, after: Float32) -> dict[str, float | None]:
    """Return the mean change by tissue, HU: within 8 pixels of its border, and farther inside."""
    change = after.astype(np.float64) - case.volume.hu
    found: dict[str, float | None] = {}
    for name, mask in regions.tissues.items():
        inner = ndimage.minimum_filter(mask, (1, 2 * _BORDER_PX + 1, 2 * _BORDER_PX + 1))
        for where, part in (("inside", inner), ("border", mask & ~inner)):
            found[f"{name} {where}"] = float(change[part].mean()) if part.sum() > 300 else None
    if case.clean is not None and case.name.startswith("head"):
        for name, (low, high) in MATTER.items():
            found[name] = float(change[regions.body & (case.clean > low) & (case.clean < high)].mean())
    return found


def likeness(case: Case, regions: Regions, after: Float32) -> dict[str, float | None]:
    """Return the correlation of the residual with fine anatomy, within each tissue.

    Fine anatomy is what a blur of 4 pixels takes from the truth; without one, from the mean of the slices on both
    sides, whose noise is another, unless slices overlap.
    """
    residual = case.volume.hu - after
    plain = case.clean
    if plain is None:
        around = np.concatenate([case.volume.hu[1:2], case.volume.hu, case.volume.hu[-2:-1]])
        plain = ndimage.gaussian_filter(0.5 * (around[:-2] + around[2:]), (0, 0.7, 0.7))
    fine = plain - ndimage.gaussian_filter(plain, (0, 4, 4))
    found: dict[str, float | None] = {}
    for name, mask in regions.tissues.items():
        # A border's flanks are far stronger than what is looked for within a tissue.
        inside = ndimage.minimum_filter(mask, (1, 7, 7))
        enough = inside.sum() > 500
        found[name] = float(np.corrcoef(residual[inside], fine[inside])[0, 1]) if enough else None
    return found


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with figures of four digits."""
    return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}
