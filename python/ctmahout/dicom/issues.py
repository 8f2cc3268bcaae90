"""What is doubtful about a series: some of it strict reading refuses, some of it is only told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import CtmahoutError

__all__ = ["Issue", "messages", "raise_errors", "unnamed"]

Issue = CtmahoutError | str
"""An error refuses the series, or is a warning where the caller is lenient; a text is a warning always."""


def raise_errors(doubts: Iterable[Issue], *, lenient: bool) -> None:
    """Raise the first error among the doubts, unless lenient."""
    if lenient:
        return
    for doubt in doubts:
        if isinstance(doubt, CtmahoutError):
            raise doubt


def messages(by_file: Sequence[Sequence[Issue]], *, named: bool = False) -> list[str]:
    """Return what to tell about files, each doubt once.

    Parameters
    ----------
    by_file : sequence of sequence of Doubt
        The doubts of each file.
    named : bool
        Name a file, and put the code before what would be refused. Otherwise files are not named: their names may be
        those of patients, and warnings get into reports.

    Examples
    --------
    >>> messages([["It is small."], ["It is small.", "It is old."]])
    ['It is small.', '1 of 2 files: It is old.']
    """
    # Errors of one kind differ in the file they name: the first one stands for all.
    seen: dict[object, tuple[Issue, int]] = {}
    for doubts in by_file:
        for doubt in dict.fromkeys(doubts):
            kind = (doubt.code, doubt.fields.get("attribute")) if isinstance(doubt, CtmahoutError) else doubt
            first, count = seen.get(kind, (doubt, 0))
            seen[kind] = (first, count + 1)
    return [_message(doubt, count, len(by_file), named=named) for doubt, count in seen.values()]


def _message(doubt: Issue, count: int, files: int, *, named: bool) -> str:
    if isinstance(doubt, CtmahoutError):
        text = f"[{doubt.code}] {doubt.message}" if named else unnamed(doubt)
        return text if count == 1 else f"{text} The same holds for {count - 1} more files."
    return doubt if count == files else f"{count} of {files} files: {doubt}"


def unnamed(error: CtmahoutError) -> str:
    """Return the message of an error about a file without the file's name."""
    return CtmahoutError(error.code, **{**error.fields, "file": "A file"}).message
