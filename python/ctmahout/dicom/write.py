"""Write a volume as a CT series derived from the series that it was read from."""

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
from .derive import Derivation, derive, shared_attributes
from .files import Progress, parallel_map, silence_pydicom, tick_of
from .frames import FrameCache
from .header import SliceHeader, SourceSeries
from .pixel_format import PixelFormat
from .pixels import load_dataset, stored_values
from .uids import IMPLEMENTATION_CLASS_UID

__all__ = ["WrittenSeries", "check_derivable", "is_ctmahout_series", "save", "write_series"]

Mask = NDArray[np.bool_] | None

_MAX_SIGNED = 0x7FFF


@dataclass(frozen=True)
class WrittenSeries:
    """A series that was written.

    Attributes
    ----------
    path : Path or Uri
    series_uid : str
    slices : int
    clipped : int
        Number of voxels clipped to the stored range.
    warnings : tuple of str
    """

    path: Location
    series_uid: str
    slices: int
    clipped: int
    warnings: tuple[str, ...]


@silence_pydicom()
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
) -> WrittenSeries:
    """Write a derived CT series: single-frame CT images, explicit VR little endian or losslessly compressed.

    Every source file is read again; geometry, patient and study attributes are copied. Stored values are
    (HU - intercept) / slope with each slice's own rescale, rounded to nearest. If they do not fit BitsStored, it
    becomes 16 for the whole series; unsigned becomes signed if there are values below 0 and none above 32767. Values
    that still do not fit are clipped and counted. Padding is copied from the source bit for bit.

    Parameters
    ----------
    volume : Volume
        From `read_series`, or `Volume.with_hu` of such a volume.
    out : path or URI
        A new folder. It appears when all slices are written.
    derivation : Derivation
    compression : str
        "none", "rle", "jpeg-ls" or "jpeg2000".
    overwrite : bool
        Replace a folder that holds only images written by ctmahout. Nothing is replaced at a URI.
    timestamp : datetime, optional
        Time of all images, now by default. With it, equal input gives equal bytes.
    progress : callable, optional
        Called with ("write", slices done, slices).
    workers : int, optional
        Threads.

    Raises
    ------
    InputError
        CTM_SOURCE_CHANGED. CTM_ATTRIBUTE_INVALID: de-identified output of a source with text burned into its pixels.
    ConfigError
        CTM_CONFIG_VALUE: unknown compression, or slices too small for it.
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE, CTM_OUTPUT_IS_INPUT, CTM_STORAGE_WRITE.
    TypeError
        The volume was not read from DICOM.
    ValueError
        Its shape differs from that of its source, or values are not finite.

    Examples
    --------
    >>> from ctmahout import Derivation, read_series
    >>> volume = read_series("phantom/noisy")
    >>> softer = volume.with_hu((volume.hu + volume.hu[::-1]) / 2)
    >>> derivation = Derivation("Mean of the series and itself upside down.", key="mean with flipped, 1")
    >>> write_series(softer, "mean", derivation=derivation).slices
    8
    """
    source = volume.source
    if not isinstance(source, SourceSeries):
        raise TypeError("the volume was not read from a DICOM series; see write_synthetic")
    _check_values(volume, source)
    check_derivable(volume, compression=compression, deidentified=derivation.deidentified)
    location = parse_location(out)
    refuse_overlap(location, source.root)
    if isinstance(location, Path):
        refuse_existing(location.absolute(), overwrite=overwrite, is_replaceable=is_ctmahout_series)
    shared = shared_attributes(source.slices, derivation, timestamp or datetime.now().astimezone())
    masks: list[Mask] = [None] * len(source.slices) if volume.padding is None else list(volume.padding)
    storage = _storage(volume, [h.pixels for h in source.slices], masks)
    warnings = []
    if storage.widened:
        warnings.append("BitsStored was widened to 16: the result does not fit the source's.")
    if storage.signed:
        warnings.append("PixelRepresentation became signed: the result has values below the lowest that was stored.")
    if any(h.denoised for h in source.slices):
        warnings.append("The source was already denoised by ctmahout.")
    if shared.references is None:
        warnings.append("The source has no valid identifiers; what is written does not refer to it.")

    cache = FrameCache()

    def write(z: int) -> int:
        header = source.slices[z]
        ds = load_dataset(header, cache)
        clipped = _set_pixels(ds, volume.hu[z], header, masks[z], storage)
        try:
            derive(ds, header, derivation, shared)
            compress(ds, compression)
            save(ds, partial / f"slice-{z + 1:04d}.dcm")
        except (AttributeError, BytesLengthException, LookupError, NotImplementedError, TypeError, ValueError) as e:
            raise _damaged_header(header, e) from e
        except OSError as e:
            if e.errno is None:  # raised by pydicom for an invalid number
                raise _damaged_header(header, e) from e
            raise
        return clipped

    with (
        upload_on_success(location, overwrite=overwrite, is_replaceable=is_ctmahout_series) as target,
        atomic_dir(target, overwrite=overwrite, is_replaceable=is_ctmahout_series) as partial,
    ):
        counts = parallel_map(write, range(len(source.slices)), workers=workers, tick=tick_of(progress, "write"))
    if clipped := sum(counts):
        warnings.append(f"{clipped} voxels did not fit the stored range and were clipped.")
    return WrittenSeries(location, shared.series_uid, len(counts), clipped, tuple(warnings))


def check_derivable(volume: Volume, *, compression: str, deidentified: bool) -> None:
    """Raise the errors of `write_series` that can be detected before any work.

    Raises
    ------
    InputError
        CTM_ATTRIBUTE_INVALID: de-identified output of a source with text burned into its pixels.
    ConfigError
        CTM_CONFIG_VALUE: unknown compression, or slices too small for it.
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


def _damaged_header(header: SliceHeader, e: Exception) -> InputError:
    """Return the error of an attribute decoded only on writing, by type: the text may quote patient data."""
    problem = f"its header is damaged ({type(e).__name__})"
    return InputError("CTM_INPUT_UNREADABLE", file=header.path, problem=problem)


def _check_values(volume: Volume, source: SourceSeries) -> None:
    first = source.slices[0].pixels
    expected = (len(source.slices), first.rows, first.columns)
    if volume.shape != expected:
        raise ValueError(f"the volume has shape {volume.shape}, its source {expected}")
    # Slice by slice, because a mask of the whole volume would need a quarter of its memory.
    if not all(np.isfinite(plane).all() for plane in volume.hu):
        raise ValueError("the volume holds values that are not finite")


@dataclass(frozen=True)
class _Storage:
    """Storage of the slices of a series.

    Attributes
    ----------
    widened : bool
        BitsStored is 16, not the source's.
    signed : bool
        PixelRepresentation is 1, not the source's.
    """

    widened: bool
    signed: bool


def _storage(volume: Volume, formats: Sequence[PixelFormat], masks: Sequence[Mask]) -> _Storage:
    """Return the storage that holds the result, the same for all slices of the series."""
    widened = any(pixels.bits_allocated == 8 for pixels in formats)
    below, above = False, False
    for hu, pixels, mask in zip(volume.hu, formats, masks, strict=True):
        measured = hu if mask is None else hu[~mask]
        if not measured.size:
            continue
        lowest, highest = pixels.to_stored(np.array([measured.min(), measured.max()]))
        low, high = pixels.stored_range
        widened |= bool(pixels.bits_stored < 16 and (highest > high or (pixels.signed and lowest < low)))
        if not pixels.signed:
            below |= bool(lowest < 0)
            above |= bool(highest > _MAX_SIGNED or (mask is not None and pixels.highest_padding > _MAX_SIGNED))
    signed = below and not above
    return _Storage(widened or signed, signed)


def _set_pixels(ds: FileDataset, hu: NDArray[np.float32], header: SliceHeader, mask: Mask, storage: _Storage) -> int:
    """Replace the pixels of the dataset; return the number of clipped pixels."""
    has_padding = mask is not None and bool(mask.any())
    source = stored_values(ds, header)[0] if has_padding else None
    bits = 16 if storage.widened else header.pixels.bits_stored
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    signed = storage.signed or header.pixels.signed
    ds.PixelRepresentation = int(signed)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    values = header.pixels.to_stored(hu)
    outside = (values < low) | (values > high)
    stored = np.clip(values, low, high).astype(np.int32)
    if mask is not None and source is not None:
        outside &= ~mask
        stored[mask] = source[mask]
    ds.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    ds["PixelData"].VR = "OW"
    ds["PixelData"].is_undefined_length = False
    return int(np.count_nonzero(outside))


def save(ds: Dataset, path: Path) -> None:
    """Write a file. Non-conforming values of the source are kept."""
    ds.save_as(path, enforce_file_format=True)


def is_ctmahout_series(folder: Path) -> bool:
    """Return whether a folder holds only DICOM files that ctmahout wrote."""
    files = list(folder.iterdir())
    try:
        return bool(files) and all(
            read_file_meta_info(file).get("ImplementationClassUID") == IMPLEMENTATION_CLASS_UID for file in files
        )
    except Exception:  # pydicom raises exceptions of many types on other files
        return False
