"""Checks that decoders omit: compressed pixels are complete, and of the size and depth in the header.

gdcm silently accepts a truncated JPEG, and crashes the process if the image is smaller than the header says.
"""

from __future__ import annotations

import struct

from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

from .pixel_format import PixelFormat

__all__ = ["codestream_problem", "jpeg_precision", "preferred_plugin"]

# EOI of JPEG and JPEG-LS, EOC of JPEG 2000: the final marker of each.
_END = b"\xff\xd9"
# Frame headers (SOF) of JPEG (ITU-T T.81 table B.1): FFC0 to FFCF without DHT, JPG and DAC; and of JPEG-LS.
_FRAME_HEADERS = {0xC0 + n for n in range(16)} - {0xC4, 0xC8, 0xCC} | {0xF7}


def preferred_plugin(syntax: str) -> str:
    """Return the pydicom plugin that does not crash on damaged data; empty for pydicom's default."""
    if syntax in JPEGLSTransferSyntaxes:
        return "pyjpegls"
    return "pylibjpeg" if syntax in JPEG2000TransferSyntaxes else ""


def jpeg_precision(ds: FileDataset) -> int | None:
    """Return the bits per sample of a JPEG image, None for another: dcmtk encodes 16 bits whatever BitsStored is."""
    if ds.file_meta.TransferSyntaxUID not in JPEGTransferSyntaxes:
        return None
    image_format = _jpeg_format(get_frame(ds.PixelData, 0, number_of_frames=1))
    return image_format[0] if image_format else None


def codestream_problem(ds: FileDataset, pixels: PixelFormat) -> str | None:
    """Return why the compressed pixels of an image are invalid, or None."""
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax == RLELossless:
        return _rle_problem(get_frame(ds.PixelData, 0, number_of_frames=1), pixels)
    if syntax not in {*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes}:
        return None
    frame = get_frame(ds.PixelData, 0, number_of_frames=1)
    if _END not in frame[-64:]:
        return "the codestream has no end: it is cut off"
    image_format = _j2k_format(frame) if syntax in JPEG2000TransferSyntaxes else _jpeg_format(frame)
    if image_format is None:
        return "the codestream has no frame header"
    precision, rows, columns = image_format
    if (rows, columns) != (pixels.rows, pixels.columns) or (precision > 8) != (pixels.bits_allocated > 8):
        expected = f"{pixels.rows} x {pixels.columns} with {pixels.bits_allocated}"
        return f"the codestream has {rows} x {columns} pixels with {precision} bits, the header says {expected}"
    return None


def _jpeg_format(frame: bytes) -> tuple[int, int, int] | None:
    """Return precision, rows and columns from the first frame header, which precedes all scans."""
    offset = 2
    while offset + 9 <= len(frame) and frame[offset] == 0xFF:
        marker = frame[offset + 1]
        if marker == 0xFF:  # fill bytes may precede a marker
            offset += 1
        elif marker in _FRAME_HEADERS:
            precision, rows, columns = struct.unpack_from(">BHH", frame, offset + 4)
            return precision, rows, columns
        elif marker == 0xDA:  # SOS
            return None
        else:
            offset += 2 + int.from_bytes(frame[offset + 2 : offset + 4], "big")
    return None


def _j2k_format(frame: bytes) -> tuple[int, int, int] | None:
    """Return precision, rows and columns from SOC and SIZ (ITU-T T.800 A.5.1)."""
    offset = frame.find(b"\xff\x4f\xff\x51", 0, 256)
    if offset < 0 or len(frame) < offset + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", frame, offset + 8)
    return (frame[offset + 42] & 0x7F) + 1, bottom - top, right - left


def _rle_problem(frame: bytes, pixels: PixelFormat) -> str | None:
    """Return why RLE segments do not match the header, or None: pydicom silently truncates long ones (PS3.5 G.3)."""
    if len(frame) < 64:
        return "the RLE header is cut off"
    count, *offsets = struct.unpack_from("<16L", frame)
    expected = pixels.rows * pixels.columns
    if count != pixels.bits_allocated // 8:
        return f"there are {count} RLE segments, the header says {pixels.bits_allocated} bits"
    for start, end in zip(offsets[:count], [*offsets[1:count], len(frame)], strict=True):
        length = _unpacked_length(frame[start:end], expected)
        if length != expected:
            return f"an RLE segment has {length} pixels or more, the header says {expected}"
    return None


def _unpacked_length(segment: bytes, limit: int) -> int:
    """Return the unpacked length of an RLE segment in bytes, counted up to just above the limit (PS3.5 G.3.1).

    A segment may end in a zero byte of padding, which is not a run.
    """
    offset = length = 0
    while offset < len(segment) - 1 and length <= limit:
        n = segment[offset]
        if n < 128:
            length += n + 1
            offset += n + 2
        else:
            length += 257 - n if n > 128 else 0
            offset += 2 if n > 128 else 1
    return length
