"""Write a series derived from the one that was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_file_meta_info

from ..errors import InputError
from ..storage import Location, Uri, parse_location, refuse_overlap, upload_on_success
from ..storage.atomic import atomic_dir, refuse_existing
from ..volume import Volume
from .compression import check_compression, compress
from .derive import Derivation, derive, facts_of
from .files import Progress, each, quiet, tick_of
from .frames import forgetting
from .header import SliceHeader, SourceSeries
from .pixel_format import PixelFormat
from .pixels import load, stored_values
from .uids import IMPLEMENTATION_CLASS_UID

__all__ = ["Written", "check_derivable", "is_ours", "save", "write_series"]

Mask = NDArray[np.bool_] | None

_SIGNED_MOST = 0x7FFF


@dataclass(frozen=True)
class Written:
    """A series on disk.

    Attributes
    ----------
    path : Path or Uri
    series_uid : str
    slices : int
    clipped : int
        Voxels that did not fit the stored range.
    warnings : tuple of str
    """

    path: Location
    series_uid: str
    slices: int
    clipped: int
    warnings: tuple[str, ...]


@quiet()
def write_series(
    volume: Volume,
    out: str | Path | Uri,
    *,
    derivation: Derivation,
    compression: str = "none",
    overwrite: bool = False,
    timestamp: datetime | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Written:
    """Write a derived CT series: single-frame CT images, explicit VR little endian, or compressed without loss.

    Every source file is read once more; geometry, patient and study are taken over as they are. Stored values are
    (HU - intercept) / slope by the slice's own rescale, rounded to nearest. If they do not fit BitsStored, it becomes
    16 for the whole series, and unsigned becomes signed if values below 0 need it and none above 32767 forbids it; what
    does not fit even then is clipped and counted. Padding is the source's, bit for bit.

    Parameters
    ----------
    volume : Volume
        One that `read_series` gave, or `Volume.with_hu` of such.
    out : path or URI
        A new folder. It appears when all slices are in it.
    derivation : Derivation
    compression : str
        "none", "rle", "jpeg-ls" or "jpeg2000".
    overwrite : bool
        Replace a folder that holds nothing but images of ctmahout; what lies at a URI is not replaced.
    timestamp : datetime, optional
        The one time of the whole series; now if not given. With it, equal input gives equal bytes.
    progress : callable, optional
        Called with ("write", slices done, slices).
    workers : int, optional
        Threads.

    Raises
    ------
    InputError
        CTM_SOURCE_CHANGED. CTM_ATTRIBUTE_INVALID: output de-identified, and a source says that texts are in its pixels.
    ConfigError
        CTM_CONFIG_VALUE: there is no such compression, or not for slices so small.
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE, CTM_OUTPUT_IS_INPUT.
    """
    source = volume.source
    if not isinstance(source, SourceSeries):
        raise TypeError("the volume was not read from a DICOM series; see write_synthetic")
    _check_values(volume, source)
    check_derivable(volume, compression=compression, deidentified=derivation.deidentified)
    location = parse_location(out)
    refuse_overlap(location, source.root)
    if isinstance(location, Path):
        refuse_existing(location.absolute(), overwrite=overwrite, is_replaceable=is_ours)
    facts = facts_of(source.slices, derivation, timestamp or datetime.now().astimezone())
    masks: list[Mask] = [None] * len(source.slices) if volume.padding is None else list(volume.padding)
    storage = _storage(volume, [h.pixels for h in source.slices], masks)
    warnings = []
    if storage.widened:
        warnings.append("BitsStored was widened to 16: the result does not fit the source's.")
    if storage.signed:
        warnings.append("PixelRepresentation became signed: the result has values below the lowest that was stored.")
    if any(h.denoised for h in source.slices):
        warnings.append("The source was already denoised by ctmahout.")
    if facts.references is None:
        warnings.append("The source has no valid identifiers; what is written does not refer to it.")

    def write(z: int) -> int:
        header = source.slices[z]
        ds = load(header)
        clipped = _fill(ds, volume.hu[z], header, masks[z], storage)
        try:
            derive(ds, header, derivation, facts)
            compress(ds, compression)
            save(ds, partial / f"slice-{z + 1:04d}.dcm")
        except (AttributeError, BytesLengthException, LookupError, NotImplementedError, TypeError, ValueError) as e:
            raise _damaged(header, e) from e
        except OSError as e:
            if e.errno is None:  # pydicom's word for a number that is none
                raise _damaged(header, e) from e
            raise
        return clipped

    with (
        upload_on_success(location, overwrite=overwrite, is_replaceable=is_ours) as target,
        atomic_dir(target, overwrite=overwrite, is_replaceable=is_ours) as partial,
        forgetting(),
    ):
        counts = each(write, range(len(source.slices)), workers=workers, tick=tick_of(progress, "write"))
    if clipped := sum(counts):
        warnings.append(f"{clipped} voxels did not fit the stored range and were clipped.")
    return Written(location, facts.series_uid, len(counts), clipped, tuple(warnings))


def check_derivable(volume: Volume, *, compression: str, deidentified: bool) -> None:
    """Refuse a series that cannot be written so: what `write_series` raises, but without any work.

    Raises
    ------
    InputError
        CTM_ATTRIBUTE_INVALID: output de-identified, and a source says that texts are in its pixels.
    ConfigError
        CTM_CONFIG_VALUE: there is no such compression, or not for slices so small.
    """
    check_compression(compression, rows=volume.shape[1], columns=volume.shape[2])
    burned_in = next((h for h in volume.source.slices if h.burned_in), None)
    if deidentified and burned_in is not None:
        raise InputError(
            "CTM_ATTRIBUTE_INVALID",
            file=burned_in.path,
            attribute="BurnedInAnnotation",
            given="YES",
            expected="NO, for output without identity",
        )


def _damaged(header: SliceHeader, e: Exception) -> InputError:
    """Return the error of what pydicom reads lazily, so that it shows its damage only when it is written.

    Its text may quote a patient's data.
    """
    problem = f"its header is damaged ({type(e).__name__})"
    return InputError("CTM_INPUT_UNREADABLE", file=header.path, problem=problem)


def _check_values(volume: Volume, source: SourceSeries) -> None:
    first = source.slices[0].pixels
    expected = (len(source.slices), first.rows, first.columns)
    if volume.shape != expected:
        raise ValueError(f"the volume has shape {volume.shape}, its source {expected}")
    # Slice by slice: a mask of the whole volume would take a quarter of its memory.
    if not all(np.isfinite(plane).all() for plane in volume.hu):
        raise ValueError("the volume holds values that are not finite")


@dataclass(frozen=True)
class _Storage:
    """How the slices of a series are stored: in their own BitsStored or in 16, in their own signedness or signed."""

    widened: bool
    signed: bool


def _storage(volume: Volume, formats: Sequence[PixelFormat], masks: Sequence[Mask]) -> _Storage:
    """Return what holds the result: one for all slices, so that a series is of one kind as far as its source is."""
    widened = any(pixels.bits_allocated == 8 for pixels in formats)
    below, above = False, False
    for hu, pixels, mask in zip(volume.hu, formats, masks, strict=True):
        measured = hu if mask is None else hu[~mask]
        if not measured.size:
            continue
        least, most = pixels.to_stored(np.array([measured.min(), measured.max()]))
        low, high = pixels.stored_range
        widened |= bool(pixels.bits_stored < 16 and (most > high or (pixels.signed and least < low)))
        if not pixels.signed:
            below |= bool(least < 0)
            above |= bool(most > _SIGNED_MOST or (mask is not None and pixels.highest_padding > _SIGNED_MOST))
    signed = below and not above
    return _Storage(widened or signed, signed)


def _fill(ds: FileDataset, hu: NDArray[np.float32], header: SliceHeader, mask: Mask, storage: _Storage) -> int:
    """Put new pixels into the dataset; return how many were clipped."""
    restore = mask is not None and bool(mask.any())
    before = stored_values(ds, header)[0] if restore else None
    bits = 16 if storage.widened else header.pixels.bits_stored
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    signed = storage.signed or header.pixels.signed
    ds.PixelRepresentation = int(signed)
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
    ds.save_as(path, enforce_file_format=True)


def is_ours(folder: Path) -> bool:
    """Tell whether a folder holds nothing but DICOM files that ctmahout wrote."""
    files = list(folder.iterdir())
    try:
        return bool(files) and all(
            read_file_meta_info(file).get("ImplementationClassUID") == IMPLEMENTATION_CLASS_UID for file in files
        )
    except Exception:  # whatever it is, it is not ours
        return False
