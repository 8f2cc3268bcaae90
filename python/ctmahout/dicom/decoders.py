"""Transfer syntaxes of CT: which ones the installed packages decode, and which packages decode the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom.pixels import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes

from ..errors import InputError

__all__ = ["Decoder", "check_decoders", "decodable", "decoders"]

_JPEG = "1.2.840.10008.1.2.4"
JPEG_EXTENDED = f"{_JPEG}.51"

# For each transfer syntax, the permissively licensed package that was measured best for CT (docs/adr/0005).
_PACKAGES = {
    "1.2.840.10008.1.2": "",
    "1.2.840.10008.1.2.1": "",
    "1.2.840.10008.1.2.1.99": "",
    "1.2.840.10008.1.2.2": "",
    "1.2.840.10008.1.2.5": "",
    f"{_JPEG}.50": "python-gdcm",
    JPEG_EXTENDED: "python-gdcm",
    f"{_JPEG}.57": "python-gdcm",
    f"{_JPEG}.70": "python-gdcm",
    f"{_JPEG}.80": "pyjpegls",
    f"{_JPEG}.81": "pyjpegls",
    f"{_JPEG}.90": "pylibjpeg pylibjpeg-openjpeg",
    f"{_JPEG}.91": "pylibjpeg pylibjpeg-openjpeg",
    f"{_JPEG}.201": "pylibjpeg pylibjpeg-openjpeg",
    f"{_JPEG}.202": "pylibjpeg pylibjpeg-openjpeg",
    f"{_JPEG}.203": "pylibjpeg pylibjpeg-openjpeg",
}


@dataclass(frozen=True)
class Decoder:
    """A transfer syntax and the packages that decode it.

    Attributes
    ----------
    syntax : str
        Transfer syntax UID.
    name : str
        Its name in the standard (PS3.6 A.1).
    available : bool
    packages : str
        Names for ``pip install``, separated by spaces; empty if none are needed.
    """

    syntax: str
    name: str
    available: bool
    packages: str


def decoders() -> tuple[Decoder, ...]:
    """Return the transfer syntaxes used in CT."""
    return tuple(
        Decoder(syntax, UID(syntax).name, _problem(syntax, bits=8) is None, packages)
        for syntax, packages in _PACKAGES.items()
    )


def decodable() -> dict[str, bool]:
    """Return whether each transfer syntax used in CT can be decoded, by its name."""
    return {decoder.name: decoder.available for decoder in decoders()}


def check_decoders(syntaxes: Mapping[tuple[str, int], Path]) -> None:
    """Refuse a series that cannot be decoded, before its pixels are read.

    Parameters
    ----------
    syntaxes : mapping
        For each transfer syntax UID and BitsStored that occurs, one file that has them.

    Raises
    ------
    InputError
        CTM_DECODER_MISSING: a package is not installed. CTM_SYNTAX_UNSUPPORTED: there is no such package.
    """
    for (syntax, bits), file in syntaxes.items():
        code = _problem(syntax, bits=bits)
        if code is None:
            continue
        name = UID(syntax).name
        text = f"{name} ({syntax})" if name != syntax else syntax if UID(syntax).is_valid else "that is no identifier"
        raise InputError(code, file=file, syntax=text, packages=_PACKAGES.get(syntax, ""))


def _problem(syntax: str, *, bits: int) -> str | None:
    uid = UID(syntax)
    if uid in AllTransferSyntaxes and not uid.is_compressed:
        return None
    try:
        decoder = get_decoder(uid)
    except NotImplementedError:  # the retired JPEG .53 and .55, private ones, JPEG XL
        return "CTM_SYNTAX_UNSUPPORTED"
    # Only a GPL package, which a user may have installed, decodes JPEG Extended of more than 8 bits.
    if syntax == JPEG_EXTENDED and bits > 8 and "pylibjpeg" not in decoder.available_plugins:
        return "CTM_SYNTAX_UNSUPPORTED"
    if not decoder.is_available:
        return "CTM_DECODER_MISSING" if syntax in _PACKAGES else "CTM_SYNTAX_UNSUPPORTED"
    return None
