"""Ways to spoil a DICOM file, drawn from a generator of random numbers: the same seed spoils alike."""

import re

import numpy as np

__all__ = ["mutated"]

# Explicit VR little endian: tag, VR, length.
_ELEMENT = re.compile(
    rb"(?s)..[\x00-\x7f]\x00(?:(AE|AS|AT|CS|DA|DS|DT|FL|FD|IS|LO|LT|PN|SH|SL|SS|ST|TM|UI|UL|US)(..)|(OB|OW|SQ|UN|UT)..(....))"
)
_NASTY = [
    b"",
    b"\\",
    b"0",
    b"-1",
    b"1e308",
    b"-1e-308",
    b"nan",
    b"inf",
    b"1,5",
    b"99999999999999999999",
    b"\xff\xfe\xfd",
    b"1.2.3.4",
    b"1\\2\\3",
    b"0\\0\\0",
    b"\0\0",
    b"\x1b$B\x1b(B",
    b"A" * 70,
]
_LENGTHS = [0, 1, 2, 3, 0x7FFF, 0xFFFF, 0xFFFFFFFE, 0xFFFFFFFF, 0x7FFFFFFF]


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Return the file with one thing wrong, or up to four."""
    for _ in range(int(random.choice([1, 1, 1, 2, 3, 4]))):
        way = _WAYS[int(random.integers(len(_WAYS)))]
        data = way(data, random) if data else data
    return data


def _header(data):
    """Return where pixels begin, or the end: half of all damage is to go before it."""
    at = data.rfind(b"\xe0\x7f\x10\x00")
    return at if at > 0 else len(data)


def _place(data, random):
    return int(random.integers(_header(data) if random.random() < 0.7 else len(data)))


def _flip(data, random):
    spoilt = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        spoilt[_place(data, random)] ^= 1 << int(random.integers(8))
    return bytes(spoilt)


def _overwrite(data, random):
    at, n = _place(data, random), int(random.integers(1, 33))
    return (data[:at] + random.bytes(n) + data[at + n :])[: len(data)]


def _zero(data, random):
    at, n = _place(data, random), int(random.integers(1, 200))
    return (data[:at] + bytes(n) + data[at + n :])[: len(data)]


def _insert(data, random):
    at = _place(data, random)
    return data[:at] + random.bytes(int(random.integers(1, 17))) + data[at:]


def _remove(data, random):
    at = _place(data, random)
    return data[:at] + data[at + int(random.integers(1, 65)) :]


def _repeat(data, random):
    at, n = _place(data, random), int(random.integers(8, 512))
    return data[:at] + data[at : at + n] + data[at:]


def _truncate(data, random):
    return data[: int(random.integers(1, max(2, len(data))))]


def _elements(data):
    return list(_ELEMENT.finditer(data, 132, _header(data)))


def _length(data, random):
    """Give an element another length than its value has."""
    found = _elements(data)
    if not found:
        return data
    match = found[int(random.integers(len(found)))]
    group, size = (2, 2) if match[1] else (4, 4)
    new = _LENGTHS[int(random.integers(len(_LENGTHS)))] & (1 << 8 * size) - 1
    return data[: match.start(group)] + new.to_bytes(size, "little") + data[match.end(group) :]


def _value(data, random):
    """Give a text element another value, with its length."""
    found = [match for match in _elements(data) if match[1]]
    if not found:
        return data
    match = found[int(random.integers(len(found)))]
    old = int.from_bytes(match[2], "little")
    new = _NASTY[int(random.integers(len(_NASTY)))]
    new += b" " * (len(new) % 2)
    return data[: match.start(2)] + len(new).to_bytes(2, "little") + new + data[match.end() + old :]


def _drop(data, random):
    """Take an element out."""
    found = [match for match in _elements(data) if match[1]]
    if not found:
        return data
    match = found[int(random.integers(len(found)))]
    return data[: match.start()] + data[match.end() + int.from_bytes(match[2], "little") :]


def _vr(data, random):
    found = _elements(data)
    if not found:
        return data
    match = found[int(random.integers(len(found)))]
    other = found[int(random.integers(len(found)))]
    at = match.start() + 4
    return data[:at] + other[0][4:6] + data[at + 2 :]


_WAYS = [_flip, _overwrite, _zero, _insert, _remove, _repeat, _truncate, _length, _value, _value, _drop, _drop, _vr]
