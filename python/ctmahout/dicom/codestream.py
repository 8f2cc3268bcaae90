"""What decoders do not check: that a compressed image is whole, and the one that the header describes.

gdcm decodes a JPEG that ends early without a word, and ends the whole process if it is smaller than the header says.
"""

from __future__ import annotations

import struct

from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

from .pixel_format import PixelFormat

__all__ = ["codestream_problem", "jpeg_precision", "preferred_plugin"]

# EOI of JPEG and JPEG-LS, EOC of JPEG 2000: the last marker of each.
_END = b"\xff\xd9"
# Frame headers (SOF) of JPEG, ITU-T T.81 table B.1, and of JPEG-LS: what is not DHT, JPG or DAC among FFC0 to FFCF.
_FRAME_HEADERS = {0xC0 + n for n in range(16)} - {0xC4, 0xC8, 0xCC} | {0xF7}


def preferred_plugin(syntax: str) -> str:
    """Return the pydicom plugin to decode with, the first of those that stay within Python when data are damaged."""
    if syntax in JPEGLSTransferSyntaxes:
        return "pyjpegls"
    return "pylibjpeg" if syntax in JPEG2000TransferSyntaxes else ""


def jpeg_precision(ds: FileDataset) -> int | None:
    """Return how many bits a JPEG image has, or None for another: dcmtk codes all 16 bits, whatever BitsStored is."""
    if ds.file_meta.TransferSyntaxUID not in JPEGTransferSyntaxes:
        return None
    found = _jpeg_format(get_frame(ds.PixelData, 0, number_of_frames=1))
    return found[0] if found else None


def codestream_problem(ds: FileDataset, pixels: PixelFormat) -> str | None:
    """Return why the compressed pixels of an image cannot be trusted, or None."""
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax == RLELossless:
        return _rle_problem(get_frame(ds.PixelData, 0, number_of_frames=1), pixels)
    if syntax not in {*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes}:
        return None
    frame = get_frame(ds.PixelData, 0, number_of_frames=1)
    if _END not in frame[-64:]:
        return "the codestream has no end: it is cut off"
    found = _j2k_format(frame) if syntax in JPEG2000TransferSyntaxes else _jpeg_format(frame)
    if found is None:
        return "the codestream has no frame header"
    precision, rows, columns = found
    if (rows, columns) != (pixels.rows, pixels.columns) or (precision > 8) != (pixels.bits_allocated > 8):
        expected = f"{pixels.rows} x {pixels.columns} with {pixels.bits_allocated}"
        return f"the codestream has {rows} x {columns} pixels with {precision} bits, the header says {expected}"
    return None


def _jpeg_format(frame: bytes) -> tuple[int, int, int] | None:
    """Return precision, rows and columns from the first frame header, which precedes all scans."""
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill bytes may precede a marker
            at += 1
        elif marker in _FRAME_HEADERS:
            precision, rows, columns = struct.unpack_from(">BHH", frame, at + 4)
            return precision, rows, columns
        elif marker == 0xDA:  # SOS
            return None
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _j2k_format(frame: bytes) -> tuple[int, int, int] | None:
    """Return precision, rows and columns from SOC and SIZ (ITU-T T.800 A.5.1)."""
    at = frame.find(b"\xff\x4f\xff\x51", 0, 256)
    if at < 0 or len(frame) < at + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", frame, at + 8)
    return (frame[at + 42] & 0x7F) + 1, bottom - top, right - left


def _rle_problem(frame: bytes, pixels: PixelFormat) -> str | None:
    """Return why RLE segments are not those of the image: pydicom cuts off what is too long (PS3.5 G.3)."""
    if len(frame) < 64:
        return "the RLE header is cut off"
    count, *offsets = struct.unpack_from("<16L", frame)
    expected = pixels.rows * pixels.columns
    if count != pixels.bits_allocated // 8:
        return f"there are {count} RLE segments, the header says {pixels.bits_allocated} bits"
    for start, end in zip(offsets[:count], [*offsets[1:count], len(frame)], strict=True):
        length = _unpacked(frame[start:end], expected)
        if length != expected:
            return f"an RLE segment has {length} pixels or more, the header says {expected}"
    return None


def _unpacked(segment: bytes, enough: int) -> int:
    """Return how many bytes a segment unpacks to; one may end in a zero byte, which is no run (PS3.5 G.3.1)."""
    at = length = 0
    while at < len(segment) - 1 and length <= enough:
        n = segment[at]
        if n < 128:
            length += n + 1
            at += n + 2
        else:
            length += 257 - n if n > 128 else 0
            at += 2 if n > 128 else 1
    return length
