"""The series that `anatomy.py` looks at: a head, chests in other scanners, and real ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctmahout import Geometry, Volume, read_series
from ctmahout.phantom import SCANNERS, make_phantom

__all__ = ["DATA", "PHANTOMS", "REAL", "Case", "cases"]

REAL = ("chest_pair_sharp_B70f", "lowdose_pet_ct_STS_002", "lowdose_pet_ct_STS_003", "j2k_series_no_sopclass")
# Seeds apart from those of quality.py: on these nothing was tuned.
_SEED = 41
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "ct"
_HEAD_DOSE, _CHEST_DOSE = 0.16, 0.1
_QUICK_PX = 192


@dataclass(frozen=True)
class Case:
    """A series, and what is known of it.

    Attributes
    ----------
    name : str
    volume : Volume
    clean : ndarray of shape (z, y, x), float32, HU, or None
        The same without noise.
    sigma : ndarray of shape (z, y, x), float32, HU, or None
        The true SD of its noise.
    """

    name: str
    volume: Volume
    clean: NDArray[np.float32] | None = None
    sigma: NDArray[np.float32] | None = None

    def cropped(self, slices: int, pixels: int) -> Case:
        """Return its middle."""
        z, y, x = self.volume.shape
        part = tuple(
            slice(max(0, (n - m) // 2), max(0, (n - m) // 2) + m)
            for n, m in zip((z, y, x), (slices, pixels, pixels), strict=True)
        )

        def cut(a: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
            return None if a is None else np.ascontiguousarray(a[part])

        v = self.volume
        padding = None if v.padding is None else np.ascontiguousarray(v.padding[part])
        geometry = replace(v.geometry, positions_mm=v.geometry.positions_mm[part[0]])
        hu = np.ascontiguousarray(v.hu[part])
        return Case(self.name, Volume(hu, geometry, padding), cut(self.clean), cut(self.sigma))


PHANTOMS = {
    "head": ("head", "standard"),
    "head smooth": ("head", "smooth"),
    **{f"chest {name}": ("chest", name) for name in SCANNERS},
}


def cases(
    names: Sequence[str], folder: Path | None, *, quick: bool, cache: Path | None, dose: float | None = None
) -> Iterator[Case]:
    """Yield cases by name.

    Parameters
    ----------
    names : sequence of str
        Of `PHANTOMS` and `REAL`.
    folder : Path, optional
        Where the real series are; they are left out if not given.
    quick : bool
        Small ones, and the middle of real ones.
    cache : Path, optional
        Where phantoms are kept from run to run.
    dose : float, optional
        Of phantoms: share of the full one, for a chest.
    """
    for name in names:
        if name in PHANTOMS:
            yield _phantom(name, quick, cache, dose)
        elif folder is not None:
            series = read_series(folder / name, lenient=True)
            case = Case(name, series)
            yield case.cropped(16, _QUICK_PX) if quick else case


def _phantom(name: str, quick: bool, cache: Path | None, dose: float | None) -> Case:
    anatomy, scanner = PHANTOMS[name]
    size = _QUICK_PX if quick or anatomy == "head" else 256
    slices = 16 if quick or anatomy == "head" else 24
    share = _HEAD_DOSE if anatomy == "head" else dose or _CHEST_DOSE
    file = cache / f"{name} {size} {slices} {share:g} {_SEED}.npz".replace(" ", "_") if cache else None
    if file is not None and file.exists():
        kept = np.load(file)
        geometry = Geometry(
            kept["positions"], np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), tuple(kept["pixel"]), _known(kept["thick"])
        )
        padding = kept["padding"] if kept["padding"].ndim == 3 else None
        return Case(name, Volume(kept["noisy"], geometry, padding), kept["clean"], kept["sigma"])
    made = make_phantom(size=size, slices=slices, dose=share, seed=_SEED, anatomy=anatomy, scanner=scanner, sigma=True)
    assert made.sigma_hu is not None
    volume = made.noisy
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            file,
            noisy=volume.hu,
            clean=made.clean.hu,
            sigma=made.sigma_hu,
            positions=volume.geometry.positions_mm,
            pixel=volume.geometry.pixel_spacing_mm,
            thick=np.array(volume.geometry.thickness_mm or np.nan),
            padding=np.zeros(0, np.bool_) if volume.padding is None else volume.padding,
        )
    return Case(name, volume, made.clean.hu, made.sigma_hu)


def _known(value: NDArray[np.float64]) -> float | None:
    return None if np.isnan(value) else float(value)
