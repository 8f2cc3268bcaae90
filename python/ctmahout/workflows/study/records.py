"""What became of a study and of each of its series."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..._version import __version__
from ...storage import Location

__all__ = ["STUDY", "Study", "StudySeries"]

STUDY = "study.json"
"""The list of what became of each series; by it the folder is known as ours."""


@dataclass(frozen=True)
class StudySeries:
    """What became of one series.

    Attributes
    ----------
    number : int
        Its place in the list that ``inspect`` shows.
    folder : str
        Below the output; it is there if the outcome is "done" or "kept".
    slices : int
    outcome : str
        "done"; "kept", from an earlier run; "skipped", for there is nothing to denoise; "failed".
    code, message : str
        Why it failed, or was skipped.
    exit_code : int
        Of the error; 0 if there is none.
    seconds : float
    measured : tuple of dict
        Rows of the table of results, one for each strength: see `Results`.
    """

    number: int
    folder: str
    slices: int
    outcome: str
    code: str = ""
    message: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    measured: tuple[dict[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Study:
    """What became of a study.

    Attributes
    ----------
    path : Path or Uri
    series : tuple of StudySeries
    unreadable : tuple of str
        Files too damaged to tell which series they belong to, each with the reason.
    """

    path: Location
    series: tuple[StudySeries, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """How many series failed."""
        return sum(s.outcome == "failed" for s in self.series)

    def as_dict(self) -> dict[str, Any]:
        """Return it as ``study.json`` has it, with nothing that names a patient."""
        # Messages name files, and their names may be those of patients; they are shown, not kept.
        kept = ("number", "folder", "slices", "outcome", "code", "seconds")
        return {
            "kind": "study",
            "ctmahout": __version__,
            "series": [{name: getattr(s, name) for name in kept} for s in self.series],
            "unreadable_files": len(self.unreadable),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of ``results.parquet``: see `Results`."""
        names = ("number", "folder", "outcome", "code", "slices", "seconds")
        rows = []
        for one in self.series:
            about = {name: getattr(one, name) for name in names}
            rows += [about | m | {"result": f"{one.folder}/{m['result']}"} for m in one.measured] or [about]
        return rows
