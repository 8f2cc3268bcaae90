"""Which transfer syntaxes can be decoded here."""

from __future__ import annotations

from pathlib import Path

from pydicom.pixels import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes

from ..errors import InputError

__all__ = ["check_decoder", "decodable"]

# What pip calls the packages that pydicom's decoders need for what is met in CT.
_PACKAGES = {
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.50": "python-gdcm",
    "1.2.840.10008.1.2.4.57": "python-gdcm",
    "1.2.840.10008.1.2.4.70": "python-gdcm",
}


def check_decoder(syntax: str, file: Path) -> None:
    """Raise CTM_DECODER_MISSING or CTM_SYNTAX_UNSUPPORTED if pixels of this transfer syntax cannot be read here."""
    uid = UID(syntax)
    name = f"{uid.name} ({syntax})" if uid.name != syntax else syntax
    if uid in AllTransferSyntaxes and not uid.is_compressed:
        return
    try:
        decoder = get_decoder(uid)
    except NotImplementedError:
        raise InputError("CTM_SYNTAX_UNSUPPORTED", file=file, syntax=name) from None
    # JPEG Extended with 12 bits, what CT would have, is decoded by a GPL package only; see docs/adr/0005.
    if syntax == "1.2.840.10008.1.2.4.51" and "pylibjpeg" not in decoder.available_plugins:
        raise InputError("CTM_SYNTAX_UNSUPPORTED", file=file, syntax=name)
    if not decoder.is_available:
        packages = _PACKAGES.get(syntax, "pylibjpeg pylibjpeg-openjpeg python-gdcm")
        raise InputError("CTM_DECODER_MISSING", file=file, syntax=name, packages=packages)


def decodable() -> dict[str, bool]:
    """Return every transfer syntax met in CT, by name, and whether it can be decoded here."""
    syntaxes = [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.57",
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.81",
        "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.4.91",
    ]
    found = {}
    for syntax in syntaxes:
        try:
            check_decoder(syntax, Path())
            found[UID(syntax).name] = True
        except InputError:
            found[UID(syntax).name] = False
    return found
