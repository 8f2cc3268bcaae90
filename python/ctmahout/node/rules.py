"""Which rule applies to a series: the first one whose patterns its first slice matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..dicom.scan import scan
from .config import Rule

__all__ = ["Traits", "match", "traits_of"]


@dataclass(frozen=True)
class Traits:
    """What rules look at.

    Attributes
    ----------
    sender, kernel, description : str
    thickness_mm : float or None, mm
    denoised : bool
        By ctmahout, before it came.
    """

    sender: str
    kernel: str = ""
    description: str = ""
    thickness_mm: float | None = None
    denoised: bool = False


def traits_of(images: Path, sender: str) -> Traits:
    """Return the traits of the series in a folder; of one without a usable image only the sender.

    Raises
    ------
    InputError
    """
    headers = [header for series in scan(images).series for header in series.headers]
    if not headers:
        return Traits(sender)
    first = headers[0]
    return Traits(
        sender, first.kernel, first.description, first.thickness_mm, denoised=any(h.denoised for h in headers)
    )


def match(rules: Sequence[Rule], traits: Traits) -> Rule | None:
    """Return the first rule that matches, or None.

    Examples
    --------
    >>> rules = (Rule("sharp", kernel="b[67]*", thickness_mm=(0, 2)), Rule("others"))
    >>> match(rules, Traits("CT1", kernel="B70f", thickness_mm=1.0)).name
    'sharp'
    >>> match(rules, Traits("CT1", kernel="B70f", thickness_mm=5.0)).name
    'others'
    """
    return next((rule for rule in rules if _matches(rule, traits)), None)


def _matches(rule: Rule, traits: Traits) -> bool:
    low, high = rule.thickness_mm
    texts = ((rule.sender, traits.sender), (rule.kernel, traits.kernel), (rule.description, traits.description))
    return all(fnmatchcase(text.lower(), pattern.lower()) for pattern, text in texts) and (
        traits.thickness_mm is None or low <= traits.thickness_mm <= high
    )
