"""Write a series derived from the one that was read."""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import FileDataset

from ..errors import InputError
from ..staging import refuse_overlap, staged
from ..volume import Volume
from .derive import MODEL, Derivation, derive, facts_of
from .headers import SliceHeader
from .read import SourceSeries, load, stored_values
from .uids import IMPLEMENTATION_CLASS_UID

__all__ = ["Written", "is_ours", "save", "write_series"]


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


def write_series(
    volume: Volume,
    out: str | Path,
    *,
    derivation: Derivation,
    overwrite: bool = False,
    timestamp: datetime | None = None,
    progress: Callable[[str, int, int], None] | None = None,
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
        The one time of the whole series; now if not given.
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
        raise TypeError("the volume was not read from a DICOM series")
    out = Path(out)
    for folder in {h.path.parent for h in source.slices}:
        refuse_overlap(out, folder)
    when = timestamp or datetime.now().astimezone()
    facts = facts_of(source.slices, derivation, when)
    widen = any(_overflows(volume.hu[z], h, _mask(volume, z)) for z, h in enumerate(source.slices))
    warnings: dict[str, None] = {}
    if widen:
        warnings["BitsStored was widened to 16: the result does not fit the source's."] = None

    def write(z: int, folder: Path) -> int:
        header = source.slices[z]
        ds = load(header, pixels=True)
        if str(ds.get("SOPInstanceUID", "")) != ("" if header.made_uid else header.sop_uid):
            raise InputError("CTM_SOURCE_CHANGED", file=header.path)
        if _already_ours(ds):
            warnings["The source was denoised by ctmahout already."] = None
        clipped = _fill(ds, volume.hu[z], header, _mask(volume, z), widen=widen)
        derive(ds, header, derivation, facts)
        save(ds, folder / f"slice-{z + 1:04d}.dcm")
        return clipped

    clipped = 0
    with staged(out, overwrite=overwrite, ours=is_ours) as partial, ThreadPoolExecutor(workers) as pool:
        try:
            for done, count in enumerate(pool.map(lambda z: write(z, partial), range(len(source.slices))), 1):
                clipped += count
                if progress:
                    progress("write", done, len(source.slices))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if clipped:
        warnings[f"{clipped} voxels did not fit the stored range and were clipped."] = None
    return Written(out, facts.series_uid, len(source.slices), clipped, tuple(warnings))


def _mask(volume: Volume, z: int) -> NDArray[np.bool_] | None:
    return None if volume.padding is None else volume.padding[z]


def _stored(hu: NDArray[np.float32], header: SliceHeader) -> NDArray[np.float64]:
    return np.rint((hu.astype(np.float64) - header.intercept) / header.slope)


def _overflows(hu: NDArray[np.float32], header: SliceHeader, mask: NDArray[np.bool_] | None) -> bool:
    """Tell whether more bits would hold what BitsStored does not: unsigned values below 0 fit nowhere."""
    if header.bits_stored == 16:
        return False
    measured = hu if mask is None else hu[~mask]
    if not measured.size:
        return False
    ends = _stored(np.array([measured.min(), measured.max()]), header)
    low, high = header.stored_range
    return bool(ends[1] > high or (header.signed and ends[0] < low))


def _fill(
    ds: FileDataset, hu: NDArray[np.float32], header: SliceHeader, mask: NDArray[np.bool_] | None, *, widen: bool
) -> int:
    """Put new pixels into the dataset; return how many were clipped."""
    if widen:
        header = replace(header, bits_stored=16)
        ds.BitsStored, ds.HighBit = 16, 15
    low, high = header.stored_range
    values = _stored(hu, header)
    outside = (values < low) | (values > high)
    if mask is not None:
        outside &= ~mask
    clipped = int(np.count_nonzero(outside))
    pixels = np.clip(values, low, high).astype(np.int32)
    if mask is not None and mask.any():
        pixels[mask] = stored_values(ds, header)[mask]
    ds.PixelData = pixels.astype("<i2" if header.signed else "<u2").tobytes()
    ds["PixelData"].VR = "OW"
    ds["PixelData"].is_undefined_length = False
    return clipped


def _already_ours(ds: FileDataset) -> bool:
    return any(item.get("ManufacturerModelName") == MODEL for item in ds.get("ContributingEquipmentSequence") or [])


def save(ds: FileDataset, path: Path) -> None:
    """Write a file; values that the source had and the standard does not allow stay as they are."""
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        ds.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)


def is_ours(folder: Path) -> bool:
    """Tell whether a folder holds nothing but DICOM files that ctmahout wrote."""
    files = list(folder.iterdir())
    try:
        return bool(files) and all(
            dcmread(f, stop_before_pixels=True, specific_tags=[]).file_meta.get("ImplementationClassUID")
            == IMPLEMENTATION_CLASS_UID
            for f in files
        )
    except Exception:  # whatever it is, it is not ours
        return False
