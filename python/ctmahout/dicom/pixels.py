"""Stored pixel values, read twice: once as HU, once more to restore what was not measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from ..errors import CtmahoutError, InputError
from ..volume import HU_LIMIT
from .archive import open_file, stamp
from .codestream import codestream_problem, jpeg_precision, preferred_plugin
from .files import each, first_line, open_dataset
from .frames import forgetting, frame_of, frames_of, kept_whole
from .header import SliceHeader, check_size
from .issues import raise_errors
from .pixel_format import text_of

__all__ = ["load", "read_hu", "stored_values"]


def load(header: SliceHeader) -> FileDataset:
    """Read a file again.

    Raises
    ------
    InputError
        CTM_SOURCE_CHANGED: it is not the file that was listed. CTM_PIXELS_UNREADABLE.
    """
    try:
        found = stamp(header.path)
        if found != (header.size, header.mtime_ns):
            raise InputError("CTM_SOURCE_CHANGED", file=header.path)
        if header.frame is None:
            ds = open_dataset(header.path, pixels=True, headless=header.headless)
        else:
            ds = frame_of(kept_whole((header.path, found), lambda: _whole(header)), header.frame)
    except InputError:
        raise
    except OSError as e:
        raise InputError("CTM_SOURCE_CHANGED", file=header.path) from e
    except Exception as e:  # behind the header, damage of any kind
        raise _unreadable(header, f"the file is damaged ({type(e).__name__})") from e
    if "PixelData" not in ds:  # pydicom drops what it has when compressed pixels do not end
        raise _unreadable(header, "they are cut off")
    if "SamplesPerPixel" not in ds:  # MONOCHROME2 says it; decoders ask for it
        ds.SamplesPerPixel = 1
    if header.frame is None and UID(header.transfer_syntax).is_deflated:
        check_size(header, 1, len(ds.PixelData))  # that of others was known before they were read
    if text_of(ds, "SOPInstanceUID") != header.file_uid:
        raise InputError("CTM_SOURCE_CHANGED", file=header.path)
    return ds


def _whole(header: SliceHeader) -> FileDataset:
    ds = open_dataset(header.path, pixels=True, headless=header.headless)
    if "PixelData" not in ds:
        raise _unreadable(header, "they are cut off")
    if UID(header.transfer_syntax).is_deflated:
        check_size(header, frames_of(ds), len(ds.PixelData))
    return ds


def plain_values(header: SliceHeader) -> tuple[NDArray[np.integer[Any]], bool]:
    """Return what `stored_values` does, of a file whose `pixels_at` is known, without reading its header again.

    Raises
    ------
    InputError
        CTM_SOURCE_CHANGED.
    """
    pixels = header.pixels
    try:
        if stamp(header.path) != (header.size, header.mtime_ns):
            raise InputError("CTM_SOURCE_CHANGED", file=header.path)
        with open_file(header.path) as stream:
            stream.seek(header.pixels_at or 0)
            data = stream.read(pixels.size)
    except OSError as e:
        raise InputError("CTM_SOURCE_CHANGED", file=header.path) from e
    if len(data) < pixels.size:
        raise InputError("CTM_SOURCE_CHANGED", file=header.path)
    kind = np.dtype(f"<{'i' if pixels.signed else 'u'}{pixels.bits_allocated // 8}")
    return _of_stored_bits(np.frombuffer(data, kind).reshape(pixels.rows, pixels.columns), header)


def stored_values(ds: FileDataset, header: SliceHeader) -> tuple[NDArray[np.integer[Any]], bool]:
    """Return the stored pixel values, and whether the bits above BitsStored hold something else.

    Returns
    -------
    values : ndarray of shape (rows, columns), of some kind of whole numbers
        Of the bits that are stored; what the others are is not defined (PS3.5 8.1.1).
    others : bool
        The others, but for the bits of declared overlays, are neither all zero nor all the sign: BitsStored is wrong.

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
            options["bits_stored"] = bits  # else gdcm clears the bits above
        ds.pixel_array_options(**options)
        whole = ds.pixel_array
    except InputError:
        raise
    except Exception as e:  # decoders raise what they like
        raise _unreadable(header, first_line(e)) from e
    expected = (header.pixels.rows, header.pixels.columns)
    if whole.shape != expected:
        raise _unreadable(header, f"they have shape {whole.shape}, the header says {expected}")
    return _of_stored_bits(whole, header)


def _of_stored_bits(whole: NDArray[np.integer[Any]], header: SliceHeader) -> tuple[NDArray[np.integer[Any]], bool]:
    low, high = header.pixels.stored_range
    if low <= whole.min() and whole.max() <= high:
        return whole, False
    whole = whole.astype(np.int32)
    mask = (1 << header.pixels.bits_stored) - 1
    values = whole & mask
    others = ~mask & 0xFFFF & ~header.overlay_bits
    unused = whole & others
    if not header.pixels.signed:
        return values, bool(unused.any())
    sign = (mask + 1) >> 1
    values = (values ^ sign) - sign
    extended = np.where(values < 0, others, 0)
    return values, bool(unused.any() and (unused != extended).any())


def _check_hu(hu: NDArray[np.float32], padding: NDArray[np.bool_], header: SliceHeader) -> None:
    if float(np.abs(hu).max()) <= HU_LIMIT or padding.all():
        return
    most = float(np.abs(hu[~padding]).max())
    if most > HU_LIMIT:
        slope, intercept = header.pixels.slope, header.pixels.intercept
        raise InputError(
            "CTM_ATTRIBUTE_INVALID",
            file=header.path,
            attribute="RescaleSlope, RescaleIntercept",
            given=f"{slope:g}, {intercept:g}, which gives values as large as {most:.3g} HU",
            expected=f"no more than {HU_LIMIT:g}",
        )


def _unreadable(header: SliceHeader, problem: str) -> InputError:
    return InputError("CTM_PIXELS_UNREADABLE", file=header.path, problem=problem)


def _other_bits(header: SliceHeader) -> InputError:
    return InputError(
        "CTM_ATTRIBUTE_INVALID",
        file=header.path,
        attribute="BitsStored",
        given=f"{header.pixels.bits_stored}, and the bits above hold something as well",
        expected="bits above that are zero, the sign or a declared overlay",
    )


def read_hu(
    order: Sequence[SliceHeader],
    *,
    lenient: bool,
    workers: int | None,
    tick: Callable[[int, int], None] | None,
) -> tuple[list[SliceHeader], NDArray[np.float32], NDArray[np.bool_] | None, list[str], list[CtmahoutError]]:
    """Read the pixels of all slices.

    Returns
    -------
    order : list of SliceHeader
        The slices read: all of them, unless lenient.
    hu : ndarray of shape (z, y, x), float32, HU
        Each slice by its own RescaleSlope and RescaleIntercept (PS3.3 C.11.1.1.2).
    padding : ndarray of shape (z, y, x), bool, or None
    doubts : list of str
    broken : list of CtmahoutError
        Slices left out.

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

    def read(z: int) -> bool | CtmahoutError:
        """Fill slice z; tell whether it has a border that PixelPaddingValue does not tell, or why it has no pixels."""
        header = order[z]
        try:
            plain = header.pixels_at is not None
            stored, others = plain_values(header) if plain else stored_values(load(header), header)
        except InputError as e:
            if lenient and e.code == "CTM_PIXELS_UNREADABLE":
                return e
            raise
        if others:  # nothing tells rubbish from the upper bits of values
            raise _other_bits(header)
        hu[z] = header.pixels.to_hu(stored)
        declared = header.pixels.declared_padding(stored)
        border = header.pixels.border(stored)
        np.logical_or(declared, border, out=padding[z])
        _check_hu(hu[z], padding[z], header)
        return bool((border & ~declared).any())

    with forgetting():
        found = each(read, range(len(order)), workers=workers, tick=tick)
    errors = [e for e in found if isinstance(e, CtmahoutError)]
    doubts: list[str] = []
    kept = [z for z, e in enumerate(found) if not isinstance(e, CtmahoutError)]
    if not kept:
        raise_errors(errors, lenient=False)
    if errors:
        for to, z in enumerate(kept):
            hu[to], padding[to] = hu[z], padding[z]
        hu, padding = hu[: len(kept)], padding[: len(kept)]
    borders = sum(1 for e in found if e is True)
    if borders:
        doubts.append(
            f"{borders} of {len(kept)} slices have a constant border below any tissue that PixelPaddingValue does not "
            "tell; it is taken for padding."
        )
    return [order[z] for z in kept], hu, padding if padding.any() else None, doubts, errors
