"""Write a series derived from the one that was read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_file_meta_info

from ..errors import InputError
from ..staging import refuse_existing, refuse_overlap, staged
from ..volume import Volume
from .derive import Derivation, derive, facts_of
from .files import Progress, each, quiet, tick_of
from .headers import SliceHeader, SourceSeries
from .pixels import load, stored_values
from .uids import IMPLEMENTATION_CLASS_UID
from .values import PixelFormat

__all__ = ["Written", "is_ours", "save", "write_series"]

Mask = NDArray[np.bool_] | None


@dataclass(frozen=True)
class Written:
    """A series on disk.

    Attributes
    ----------
    path : Path
    series_uid : str
    slices : int
    clipped : int
        Voxels that did not fit the stored range.
    warnings : tuple of str
    """

    path: Path
    series_uid: str
    slices: int
    clipped: int
    warnings: tuple[str, ...]


@quiet()
def write_series(
    volume: Volume,
    out: str | Path,
    *,
    derivation: Derivation,
    overwrite: bool = False,
    timestamp: datetime | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Written:
    """Write a derived CT series: single-frame CT images, explicit VR little endian.

    Every source file is read once more; geometry, patient and study are taken over as they are. Stored values are
    (HU - intercept) / slope by the slice's own rescale, rounded to nearest. If they do not fit BitsStored, it becomes
    16 for the whole series; what does not fit even then is clipped and counted. Padding is the source's, bit for bit.

    Parameters
    ----------
    volume : Volume
        One that `read_series` gave, or `Volume.with_hu` of such.
    out : path
        A new folder. It appears when all slices are in it.
    derivation : Derivation
    overwrite : bool
        Replace a folder that holds nothing but images of ctmahout.
    timestamp : datetime, optional
        The one time of the whole series; now if not given. With it, equal input gives equal bytes.
    progress : callable, optional
        Called with ("write", slices done, slices).
    workers : int, optional
        Threads.

    Raises
    ------
    InputError
        CTM_SOURCE_CHANGED.
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE, CTM_OUTPUT_IS_INPUT.
    """
    source = volume.source
    if not isinstance(source, SourceSeries):
        raise TypeError("the volume was not read from a DICOM series; see write_synthetic")
    _check_values(volume, source)
    out = Path(out)
    refuse_overlap(out, source.root)
    refuse_existing(out.absolute(), overwrite=overwrite, ours=is_ours)
    facts = facts_of(source.slices, derivation, timestamp or datetime.now().astimezone())
    masks: list[Mask] = [None] * len(source.slices) if volume.padding is None else list(volume.padding)
    formats = [h.pixels for h in source.slices]
    widen = any(map(_overflows, volume.hu, formats, masks)) or any(f.bits_allocated == 8 for f in formats)
    warnings = []
    if widen:
        warnings.append("BitsStored was widened to 16: the result does not fit the source's.")
    if any(h.denoised for h in source.slices):
        warnings.append("The source was already denoised by ctmahout.")
    if facts.references is None:
        warnings.append("The source has no valid identifiers; what is written does not refer to it.")

    def write(z: int) -> int:
        header = source.slices[z]
        ds = load(header)
        clipped = _fill(ds, volume.hu[z], header, masks[z], widen=widen)
        try:
            derive(ds, header, derivation, facts)
            save(ds, partial / f"slice-{z + 1:04d}.dcm")
        except (AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as e:
            # What pydicom reads lazily shows its damage only now. Its text may quote a patient's data.
            problem = f"its header is damaged ({type(e).__name__})"
            raise InputError("CTM_INPUT_UNREADABLE", file=header.path, problem=problem) from e
        return clipped

    with staged(out, overwrite=overwrite, ours=is_ours) as partial:
        counts = each(write, range(len(source.slices)), workers=workers, tick=tick_of(progress, "write"))
    if clipped := sum(counts):
        warnings.append(f"{clipped} voxels did not fit the stored range and were clipped.")
    return Written(out, facts.series_uid, len(counts), clipped, tuple(warnings))


def _check_values(volume: Volume, source: SourceSeries) -> None:
    first = source.slices[0].pixels
    expected = (len(source.slices), first.rows, first.columns)
    if volume.shape != expected:
        raise ValueError(f"the volume has shape {volume.shape}, its source {expected}")
    # Slice by slice: a mask of the whole volume would take a quarter of its memory.
    if not all(np.isfinite(plane).all() for plane in volume.hu):
        raise ValueError("the volume holds values that are not finite")


def _overflows(hu: NDArray[np.float32], pixels: PixelFormat, mask: Mask) -> bool:
    """Tell whether more bits would hold what BitsStored does not: unsigned values below 0 fit nowhere."""
    if pixels.bits_stored == 16:
        return False
    measured = hu if mask is None else hu[~mask]
    if not measured.size:
        return False
    least, most = pixels.to_stored(np.array([measured.min(), measured.max()]))
    low, high = pixels.stored_range
    return bool(most > high or (pixels.signed and least < low))


def _fill(ds: FileDataset, hu: NDArray[np.float32], header: SliceHeader, mask: Mask, *, widen: bool) -> int:
    """Put new pixels into the dataset; return how many were clipped."""
    restore = mask is not None and bool(mask.any())
    before = stored_values(ds, header)[0] if restore else None
    bits = 16 if widen else header.pixels.bits_stored
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    signed = header.pixels.signed
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    values = header.pixels.to_stored(hu)
    outside = (values < low) | (values > high)
    stored = np.clip(values, low, high).astype(np.int32)
    if mask is not None and before is not None:
        outside &= ~mask
        stored[mask] = before[mask]
    ds.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    ds["PixelData"].VR = "OW"
    ds["PixelData"].is_undefined_length = False
    return int(np.count_nonzero(outside))


def save(ds: Dataset, path: Path) -> None:
    """Write a file; values that the source had and the standard does not allow stay as they are."""
    ds.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)


def is_ours(folder: Path) -> bool:
    """Tell whether a folder holds nothing but DICOM files that ctmahout wrote."""
    files = list(folder.iterdir())
    try:
        return bool(files) and all(
            read_file_meta_info(file).get("ImplementationClassUID") == IMPLEMENTATION_CLASS_UID for file in files
        )
    except Exception:  # whatever it is, it is not ours
        return False
