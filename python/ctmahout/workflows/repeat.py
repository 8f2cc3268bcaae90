"""The error of a method from two scans of one object at rest: ``ctmahout repeat``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dicom.header import kernel_of
from ..errors import InputError
from ..files.read_volume import read_volume
from ..options import Config
from ..quality import (
    TISSUES_AND_FAT,
    Edges,
    Motion,
    NoiseAgreement,
    RepeatError,
    Transfer,
    neighbour_distance,
    repeat_errors,
    tissues_from_neighbours,
)
from ..storage import Location, Uri, local_copy, parse_location
from ..volume import Volume
from .dssvd import options_of

__all__ = ["repeat"]

Float32 = NDArray[np.float32]

_SAME_SIZE = 0.01
_FEWEST_SLICES = 4
_SHIFT_PX = 0.1
# A part that moves by more than this share of what the object moves by moves for itself.
_LOCAL_SHARE = 0.5
_SAME_NOISE = 0.5  # correlation above which two scans are not two
_SPECTRA = 0.1  # share of the noise at other frequencies, above what chance makes
_UNEVEN = 0.1  # difference of noise powers over their sum: SDs that differ by a tenth
_CHANGED_HU = 2.0
_KEPT = -0.02  # share of noise below which it is the other scan's


def repeat(
    scan1: str | Path | Uri,
    scan2: str | Path | Uri,
    denoised1: str | Path | Uri,
    denoised2: str | Path | Uri | None = None,
    config: Config | None = None,
    *,
    match_kernel: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Measure the error of a method against the mean scan, from two scans of one object at rest.

    Parameters
    ----------
    scan1, scan2 : path or URI
        Two acquisitions by one protocol; DICOM, NIfTI or npz.
    denoised1 : path or URI
        The result of `scan1` alone, by any method, ctmahout's or not.
    denoised2 : path or URI, optional
        That of `scan2` by the same method. With it the spread between results and their systematic error are known as
        well, and noise of the two scans need not be equally strong.
    config : Config, optional
        Or its fields as keywords: lenient, unpack_gib, workers.
    match_kernel : bool
        Filter the results so that their transfer function is that of the scans: for a rival that was reconstructed from
        the same raw data with another kernel.

    Returns
    -------
    dict
        * ``results``: 1 or 2.
        * ``tissues``: by body, lung, fat, soft and bone, the figures of `ctmahout.quality.RepeatError`, or None.
        * ``transfer``: of ``all`` and of soft tissue, `frequency_per_mm`, `transfer` and `error`, see
          `ctmahout.quality.Transfer`; None where it cannot be measured. After the match, if one is asked for.
        * ``edge_sharpness``: width of the scans' mean edge as a share of the results': strong and weak, or None.
        * ``kernel_matched_to_per_mm``: the highest frequency that was matched, cycles/mm; None without a match.
        * ``motion``, ``noise``: how far the scans agree, see `ctmahout.quality.Motion` and `NoiseAgreement`.
        * ``independent``: whether noise of the scans is independent; None if that could not be measured.
        * ``warnings``: what could not be checked, and what widened the ranges.

    Raises
    ------
    InputError
        CTM_REPEAT_GRID, CTM_REPEAT_KERNEL, CTM_REPEAT_SAME, CTM_REPEAT_NOISE, CTM_REPEAT_MOVED,
        CTM_REPEAT_NOT_AT_REST, CTM_REPEAT_CHANGED: the scans are not repeats of each other. CTM_REPEAT_SWAPPED: a
        result is of the other scan. CTM_REPEAT_UNMEASURABLE: there is too little to measure in. And those of reading.

    Examples
    --------
    >>> soft = repeat("scan1", "scan2", "denoised1")["tissues"]["soft"]
    >>> bool(soft["rmse_hu"] < soft["noise_sd_hu"])
    True
    """
    config = options_of(config, options, "repeat")
    results_of = [denoised1] if denoised2 is None else [denoised1, denoised2]
    places = [parse_location(place) for place in (scan1, scan2, *results_of)]
    with ExitStack() as stack:
        volumes = [read_volume(stack.enter_context(local_copy(place)), config) for place in places]
    _check_headers(places, volumes)
    first, second, *results = volumes
    scans = first.hu, second.hu
    padding = _union([volume.padding for volume in volumes])
    mean = (scans[0] + scans[1]) / np.float32(2)
    masks = tissues_from_neighbours(
        mean, padding, ranges=TISSUES_AND_FAT, distance=neighbour_distance(first.geometry.spacing_mm)
    )
    del mean
    spacing = first.geometry.pixel_spacing_mm
    noise = NoiseAgreement.of(*scans, masks["soft"], spacing)
    _check_noise(places, scans, noise, results=len(results))
    motion = Motion.of(*scans, masks["body"], first.geometry.voxel_mm, padding)
    _check_motion(motion)
    denoised = [result.hu for result in results]
    matched = None
    if match_kernel:
        transfer = Transfer.of(scans, denoised, None, spacing)
        if transfer is None:
            problem = "the object has too little structure to match kernels by"
            raise InputError("CTM_REPEAT_UNMEASURABLE", path=places[0], problem=problem)
        denoised = [transfer.undo(hu, spacing) for hu in denoised]
        matched = float(transfer.frequency_per_mm[-1])
    dependent = noise is not None and abs(noise.correlation) > 4 * noise.correlation_error
    uneven = noise is not None and abs(noise.imbalance) > 3 * noise.imbalance_error
    errors = repeat_errors(
        scans,
        denoised,
        masks,
        noise_correlation=noise.correlation if noise and dependent else 0.0,
        noise_imbalance=noise.imbalance if noise and uneven else 0.0,
    )
    _check_errors(places, errors)
    return {
        "results": len(denoised),
        "tissues": {name: error and error.as_dict() for name, error in errors.items()},
        "transfer": {
            name: _transfer(Transfer.of(scans, denoised, mask, spacing))
            for name, mask in (("all", None), ("soft", masks["soft"]))
        },
        "edge_sharpness": _sharpness(scans, denoised, masks["body"], spacing),
        "kernel_matched_to_per_mm": matched,
        "motion": motion.as_dict(),
        "noise": noise and noise.as_dict(),
        "independent": None if noise is None else not dependent,
        "warnings": _warnings(volumes, motion, noise, dependent=dependent, uneven=uneven and len(denoised) == 1),
    }


def _check_headers(places: Sequence[Location], volumes: Sequence[Volume]) -> None:
    """Refuse slices of another grid, and scans of another kernel, by what their headers say."""
    reference = volumes[0]
    for place, volume in zip(places[1:], volumes[1:], strict=True):
        for attribute, value, expected, same in _grids(volume, reference):
            if not same:
                raise InputError(
                    "CTM_REPEAT_GRID",
                    file=place,
                    reference=places[0],
                    attribute=attribute,
                    given=value,
                    expected=expected,
                )
    if reference.shape[0] < _FEWEST_SLICES:
        problem = f"there are {reference.shape[0]} slices, and {_FEWEST_SLICES} are needed"
        raise InputError("CTM_REPEAT_UNMEASURABLE", path=places[0], problem=problem)
    kernels = [kernel_of(volume) for volume in volumes[:2]]
    if all(kernels) and kernels[0] != kernels[1]:
        raise _other_kernel(places, f"the kernel is {kernels[1]}, expected {kernels[0]}")


def _grids(volume: Volume, reference: Volume) -> list[tuple[str, object, object, bool]]:
    """Return attribute, given, expected and whether they agree; those after the first that does not are not valid."""
    checks: list[tuple[str, object, object, bool]] = []
    checks.append(("the shape", volume.shape, reference.shape, volume.shape == reference.shape))
    if volume.shape != reference.shape:
        return checks
    one, other = volume.geometry, reference.geometry
    size, expected = (" x ".join(f"{mm:.4g}" for mm in g.voxel_mm) + " mm" for g in (one, other))
    alike = bool(np.allclose(one.voxel_mm, other.voxel_mm, rtol=_SAME_SIZE))
    checks.append(("the size of a voxel", size, expected, alike))
    if one.thickness_mm and other.thickness_mm:
        alike = bool(np.isclose(one.thickness_mm, other.thickness_mm, rtol=_SAME_SIZE))
        checks.append(("the slice thickness", f"{one.thickness_mm:g} mm", f"{other.thickness_mm:g} mm", alike))
    off, most = one.distance_mm(other), _SHIFT_PX * min(v for v in other.voxel_mm if v > 0)
    tilt = max(
        float(np.linalg.norm(a - b))
        for a, b in ((one.row_direction, other.row_direction), (one.column_direction, other.column_direction))
    )
    checks.append(("the place", f"{off:.2g} mm off", f"at most {most:.2g} mm", off <= most))
    checks.append(("the orientation", f"{np.degrees(tilt):.2g} degrees off", "the same", tilt <= 1e-3))
    return checks


def _check_noise(
    places: Sequence[Location], scans: tuple[Float32, Float32], noise: NoiseAgreement | None, *, results: int
) -> None:
    """Refuse one scan given twice, and scans whose noise has another spectrum or another strength."""
    correlation = 1.0 if np.array_equal(*scans) else noise.correlation if noise else 0.0
    if correlation > _SAME_NOISE:
        raise InputError("CTM_REPEAT_SAME", file=places[1], other=places[0], correlation=f"{correlation:.2f}")
    if noise is None:
        return
    if noise.spectra_differ_by > _SPECTRA + noise.spectra_uncertain_by:
        raise _other_kernel(places, f"{noise.spectra_differ_by:.0%} of the noise lies at other frequencies")
    if results == 1 and abs(noise.imbalance) > max(_UNEVEN, 3 * noise.imbalance_error):
        one, other = (f"{sd:.1f}" for sd in noise.sd_hu)
        raise InputError("CTM_REPEAT_NOISE", given=other, expected=one)


def _other_kernel(places: Sequence[Location], problem: str) -> InputError:
    return InputError("CTM_REPEAT_KERNEL", file=places[1], other=places[0], problem=problem)


def _check_motion(motion: Motion) -> None:
    if motion.shift_px is None or motion.error_px is None:
        return
    if motion.local_px > max(_SHIFT_PX, _LOCAL_SHARE * motion.shift_px):
        raise InputError("CTM_REPEAT_NOT_AT_REST", shift=f"{motion.local_px:.2f}", most=_SHIFT_PX)
    if motion.shift_px - 2 * motion.error_px > _SHIFT_PX:
        raise InputError("CTM_REPEAT_MOVED", shift=f"{motion.shift_px:.2f}", most=_SHIFT_PX)


def _check_errors(places: Sequence[Location], errors: dict[str, RepeatError | None]) -> None:
    """Refuse scans whose content changed, and results that keep noise of the other scan."""
    body = errors["body"]
    if body is None:
        raise InputError("CTM_REPEAT_UNMEASURABLE", path=places[0], problem="there is no noise, or no object")
    for tissue in ("soft", "fat", "lung"):
        error = errors[tissue]
        if error and abs(error.scan_shift_hu) - 3 * error.scan_shift_error_hu > _CHANGED_HU:
            raise InputError(
                "CTM_REPEAT_CHANGED", tissue=tissue, shift=f"{error.scan_shift_hu:+.1f}", most=f"{_CHANGED_HU:g}"
            )
    if body.noise_kept < min(_KEPT, -4 * body.noise_kept_error):
        raise InputError("CTM_REPEAT_SWAPPED", file=places[2], scan=places[0], other=places[1])


def _union(paddings: Sequence[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    known = [padding for padding in paddings if padding is not None]
    return np.logical_or.reduce(known) if known else None


def _transfer(transfer: Transfer | None) -> dict[str, list[float]] | None:
    if transfer is None:
        return None
    return {name: [float(f"{v:.4g}") for v in values] for name, values in vars(transfer).items()}


def _sharpness(
    scans: tuple[Float32, Float32], denoised: Sequence[Float32], mask: NDArray[np.bool_], spacing: tuple[float, float]
) -> dict[str, float | None]:
    """Return the scans' widths over the results', at edges of the first result: noise hides those of scans."""
    edges = Edges.of(denoised[0], mask, spacing)
    before, after = ([edges.widths_mm(hu) for hu in group] for group in (scans, denoised))
    sharpness: dict[str, float | None] = {}
    for kind in before[0]:
        was, became = ([widths[kind] for widths in group] for group in (before, after))
        known = [w for w in was if w], [w for w in became if w]
        complete = len(known[0]) == len(was) and len(known[1]) == len(became)
        sharpness[kind] = float(np.mean(known[0]) / np.mean(known[1])) if complete else None
    return sharpness


def _warnings(
    volumes: Sequence[Volume], motion: Motion, noise: NoiseAgreement | None, *, dependent: bool, uneven: bool
) -> list[str]:
    warnings = list(dict.fromkeys(text for volume in volumes for text in volume.warnings))
    if motion.shift_px is None:
        warnings.append("The object has too few edges to check that it lay still to a tenth of a pixel.")
    if noise is None:
        warnings.append("There is no flat soft tissue to check in that noise is independent and equally strong.")
    elif dependent:
        warnings.append(
            f"Noise of the scans correlates by {noise.correlation:.2f}: ranges are wider, and errors are upper bounds "
            "where less than half of the noise is kept."
        )
    if uneven and noise is not None:
        one, other = (f"{sd:.1f}" for sd in noise.sd_hu)
        warnings.append(f"Noise has {one} HU in the first scan and {other} in the second; ranges are wider.")
    return warnings
