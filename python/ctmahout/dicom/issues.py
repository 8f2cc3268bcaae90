"""Issues of a series: errors, which strict reading raises and lenient reading only warns of, and plain warnings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import CtmahoutError

__all__ = ["Issue", "raise_errors", "warning_texts"]

Issue = CtmahoutError | str
"""An error, which becomes a warning if the caller is lenient; or the text of a warning."""


def raise_errors(issues: Iterable[Issue], *, lenient: bool = False) -> None:
    """Raise the first error among the issues, unless lenient."""
    if lenient:
        return
    for issue in issues:
        if isinstance(issue, CtmahoutError):
            raise issue


def warning_texts(by_file: Sequence[Sequence[Issue]], *, with_code: bool = False) -> list[str]:
    """Return a text for each distinct issue, with the number of files that have it.

    Parameters
    ----------
    by_file : sequence of sequence of Issue
        The issues of each file.
    with_code : bool
        Put the error code first, and name one file. By default no file is named: warnings go into reports, and file
        names may contain names of patients.

    Examples
    --------
    >>> warning_texts([["It is small."], ["It is small.", "It is old."]])
    ['It is small.', '1 of 2 files: It is old.']
    """
    # Equal errors of several files differ only in the file they name, so the first represents the others.
    counts: dict[object, tuple[Issue, int]] = {}
    for issues in by_file:
        for issue in dict.fromkeys(issues):
            key = (issue.code, issue.fields.get("attribute")) if isinstance(issue, CtmahoutError) else issue
            first, count = counts.get(key, (issue, 0))
            counts[key] = (first, count + 1)
    return [_text(issue, count, len(by_file), with_code=with_code) for issue, count in counts.values()]


def _text(issue: Issue, count: int, files: int, *, with_code: bool) -> str:
    if isinstance(issue, CtmahoutError):
        text = f"[{issue.code}] {issue.message}" if with_code else _message_without_path(issue)
        return text if count == 1 else f"{text} The same holds for {count - 1} more files."
    return issue if count == files else f"{count} of {files} files: {issue}"


def _message_without_path(error: CtmahoutError) -> str:
    return CtmahoutError(error.code, **{**error.fields, "file": "A file"}).message
