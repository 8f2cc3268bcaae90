"""Read pixels: all slices as HU, and stored values again when a derived series is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from ..errors import CtmahoutError, InputError
from ..volume import HU_LIMIT
from .archive import open_file, size_and_mtime
from .codestream import codestream_problem, jpeg_precision, preferred_plugin
from .files import first_line, open_dataset, parallel_map
from .frames import FrameCache, frame_count, frame_of
from .header import SliceHeader, check_size
from .issues import raise_errors
from .pixel_format import text_of

__all__ = ["Pixels", "load_dataset", "read_hu", "stored_values"]


class Pixels(NamedTuple):
    """The pixels of a series.

    Attributes
    ----------
    order : list of SliceHeader
        The slices read: all of them, unless lenient.
    hu : ndarray of shape (z, y, x), float32, HU
        Each slice by its own RescaleSlope and RescaleIntercept (PS3.3 C.11.1.1.2).
    padding : ndarray of shape (z, y, x), bool, or None
        True where nothing was measured. None: nowhere.
    warnings : list of str
    unreadable : list of CtmahoutError
        Errors of the slices left out.
    """

    order: list[SliceHeader]
    hu: NDArray[np.float32]
    padding: NDArray[np.bool_] | None
    warnings: list[str]
    unreadable: list[CtmahoutError]


def read_hu(
    order: Sequence[SliceHeader],
    *,
    lenient: bool,
    workers: int | None,
    tick: Callable[[int, int], None] | None,
) -> Pixels:
    """Read the pixels of all slices.

    Parameters
    ----------
    order : sequence of SliceHeader
        Slices of the same size.
    lenient : bool
        Leave out slices that cannot be decoded, as long as there is one that can.
    workers : int, optional
        Threads.
    tick : callable, optional
        Called with slices done and their number.

    Raises
    ------
    InputError
        CTM_PIXELS_UNREADABLE, CTM_SOURCE_CHANGED, CTM_INPUT_TOO_LARGE. CTM_ATTRIBUTE_INVALID: HU cannot be right.
    """
    shape = (len(order), order[0].pixels.rows, order[0].pixels.columns)
    try:
        hu = np.empty(shape, np.float32)
        padding = np.zeros(shape, np.bool_)
    except MemoryError as e:
        z, y, x = shape
        raise InputError("CTM_INPUT_TOO_LARGE", slices=z, rows=y, columns=x, mib=5 * z * y * x >> 20) from e
    cache = FrameCache()

    def read(z: int) -> bool | CtmahoutError:
        """Fill slice z; return whether it has a border without PixelPaddingValue, or why it cannot be decoded."""
        header = order[z]
        try:
            native = header.pixels_at is not None
            stored, stray_bits = native_values(header) if native else stored_values(load_dataset(header, cache), header)
        except InputError as e:
            if lenient and e.code == "CTM_PIXELS_UNREADABLE":
                return e
            raise
        if stray_bits:  # they may be noise or the upper bits of values
            raise _stray_bits_error(header)
        hu[z] = header.pixels.to_hu(stored)
        declared = header.pixels.declared_padding(stored)
        border = header.pixels.border(stored)
        np.logical_or(declared, border, out=padding[z])
        _check_hu(hu[z], padding[z], header)
        return bool((border & ~declared).any())

    outcomes = parallel_map(read, range(len(order)), workers=workers, tick=tick)
    unreadable = [outcome for outcome in outcomes if isinstance(outcome, CtmahoutError)]
    readable = [z for z, outcome in enumerate(outcomes) if not isinstance(outcome, CtmahoutError)]
    if not readable:
        raise_errors(unreadable)
    if unreadable:
        for target, z in enumerate(readable):
            hu[target], padding[target] = hu[z], padding[z]
        hu, padding = hu[: len(readable)], padding[: len(readable)]
    warnings: list[str] = []
    borders = sum(1 for outcome in outcomes if outcome is True)
    if borders:
        warnings.append(
            f"{borders} of {len(readable)} slices have a constant border below any tissue that PixelPaddingValue does "
            "not tell; it is taken for padding."
        )
    return Pixels([order[z] for z in readable], hu, padding if padding.any() else None, warnings, unreadable)


def load_dataset(header: SliceHeader, cache: FrameCache) -> FileDataset:
    """Read the file of a slice again, with its pixels; of a multi-frame file, this frame.

    Raises
    ------
    InputError
        CTM_SOURCE_CHANGED: the file changed since it was scanned. CTM_PIXELS_UNREADABLE.
    """
    try:
        stamp = size_and_mtime(header.path)
        if stamp != (header.size, header.mtime_ns):
            raise InputError("CTM_SOURCE_CHANGED", file=header.path)
        if header.frame is None:
            ds = open_dataset(header.path, pixels=True, without_preamble=header.without_preamble)
        else:
            ds = frame_of(cache.get((header.path, stamp), lambda: _load_multiframe(header)), header.frame)
    except InputError:
        raise
    except OSError as e:
        raise InputError("CTM_SOURCE_CHANGED", file=header.path) from e
    except Exception as e:  # on damage after the header pydicom raises exceptions of many types
        raise _unreadable(header, f"the file is damaged ({type(e).__name__})") from e
    if "PixelData" not in ds:  # pydicom drops compressed pixels that are cut off
        raise _unreadable(header, "they are cut off")
    if "SamplesPerPixel" not in ds:  # implied by MONOCHROME2, but decoders require it
        ds.SamplesPerPixel = 1
    if header.frame is None and UID(header.transfer_syntax).is_deflated:
        check_size(header, 1, len(ds.PixelData))  # the length of other pixels was checked with the header
    if text_of(ds, "SOPInstanceUID") != header.file_uid:
        raise InputError("CTM_SOURCE_CHANGED", file=header.path)
    return ds


def _load_multiframe(header: SliceHeader) -> FileDataset:
    ds = open_dataset(header.path, pixels=True, without_preamble=header.without_preamble)
    if "PixelData" not in ds:
        raise _unreadable(header, "they are cut off")
    if UID(header.transfer_syntax).is_deflated:
        check_size(header, frame_count(ds), len(ds.PixelData))
    return ds


def native_values(header: SliceHeader) -> tuple[NDArray[np.integer[Any]], bool]:
    """Return the same as `stored_values` for a file with a known `pixels_at`, without reading its header again.

    Raises
    ------
    InputError
        CTM_SOURCE_CHANGED.
    """
    pixels = header.pixels
    try:
        if size_and_mtime(header.path) != (header.size, header.mtime_ns):
            raise InputError("CTM_SOURCE_CHANGED", file=header.path)
        with open_file(header.path) as stream:
            stream.seek(header.pixels_at or 0)
            data = stream.read(pixels.size)
    except OSError as e:
        raise InputError("CTM_SOURCE_CHANGED", file=header.path) from e
    if len(data) < pixels.size:
        raise InputError("CTM_SOURCE_CHANGED", file=header.path)
    dtype = np.dtype(f"<{'i' if pixels.signed else 'u'}{pixels.bits_allocated // 8}")
    return _mask_unused_bits(np.frombuffer(data, dtype).reshape(pixels.rows, pixels.columns), header)


def stored_values(ds: FileDataset, header: SliceHeader) -> tuple[NDArray[np.integer[Any]], bool]:
    """Return the stored pixel values, and whether the bits above BitsStored hold data as well.

    Returns
    -------
    values : ndarray of shape (rows, columns), integer
        From the stored bits; those above are undefined (PS3.5 8.1.1).
    stray_bits : bool
        The bits above, except those of declared overlays, are neither all zero nor all the sign: BitsStored is wrong.

    Raises
    ------
    InputError
        CTM_PIXELS_UNREADABLE.
    """
    try:
        if problem := codestream_problem(ds, header.pixels):
            raise _unreadable(header, problem)
        plugin = preferred_plugin(header.transfer_syntax)
        if plugin and plugin not in get_decoder(header.transfer_syntax).available_plugins:
            plugin = ""
        options = {"decoding_plugin": plugin, "correct_unused_bits": False}
        if (bits := jpeg_precision(ds)) is not None and bits > header.pixels.bits_stored:
            options["bits_stored"] = bits  # otherwise gdcm clears the bits above
        ds.pixel_array_options(**options)
        decoded = ds.pixel_array
    except InputError:
        raise
    except Exception as e:  # decoders raise exceptions of many types
        raise _unreadable(header, first_line(e)) from e
    expected = (header.pixels.rows, header.pixels.columns)
    if decoded.shape != expected:
        raise _unreadable(header, f"they have shape {decoded.shape}, the header says {expected}")
    return _mask_unused_bits(decoded, header)


def _mask_unused_bits(decoded: NDArray[np.integer[Any]], header: SliceHeader) -> tuple[NDArray[np.integer[Any]], bool]:
    low, high = header.pixels.stored_range
    if low <= decoded.min() and decoded.max() <= high:
        return decoded, False
    decoded = decoded.astype(np.int32)
    mask = (1 << header.pixels.bits_stored) - 1
    values = decoded & mask
    unused_mask = ~mask & 0xFFFF & ~header.overlay_bits
    unused = decoded & unused_mask
    if not header.pixels.signed:
        return values, bool(unused.any())
    sign = (mask + 1) >> 1
    values = (values ^ sign) - sign
    sign_extension = np.where(values < 0, unused_mask, 0)
    return values, bool(unused.any() and (unused != sign_extension).any())


def _check_hu(hu: NDArray[np.float32], padding: NDArray[np.bool_], header: SliceHeader) -> None:
    if float(np.abs(hu).max()) <= HU_LIMIT or padding.all():
        return
    largest = float(np.abs(hu[~padding]).max())
    if largest > HU_LIMIT:
        slope, intercept = header.pixels.slope, header.pixels.intercept
        raise InputError(
            "CTM_ATTRIBUTE_INVALID",
            file=header.path,
            attribute="RescaleSlope, RescaleIntercept",
            given=f"{slope:g}, {intercept:g}, which gives values as large as {largest:.3g} HU",
            expected=f"no more than {HU_LIMIT:g}",
        )


def _unreadable(header: SliceHeader, problem: str) -> InputError:
    return InputError("CTM_PIXELS_UNREADABLE", file=header.path, problem=problem)


def _stray_bits_error(header: SliceHeader) -> InputError:
    return InputError(
        "CTM_ATTRIBUTE_INVALID",
        file=header.path,
        attribute="BitsStored",
        given=f"{header.pixels.bits_stored}, and the bits above hold something as well",
        expected="bits above that are zero, the sign or a declared overlay",
    )
