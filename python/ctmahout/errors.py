"""What can go wrong, each with a code, a sentence and what to do next.

The catalogue ``contract/v1/errors.json`` is shared with the JVM: one text for each code in both languages.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypedDict

__all__ = [
    "ConfigError",
    "CtmahoutError",
    "CtmahoutWarning",
    "EngineError",
    "ExchangeError",
    "InputError",
    "InternalError",
    "Interrupted",
    "OutputError",
    "catalogue",
    "from_text",
    "too_large",
]


class Entry(TypedDict):
    """One entry of the catalogue."""

    exit: int
    message: str
    hint: str


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Entry]:
    """Return every error code with its exit code, message and hint."""
    text = (files("ctmahout") / "contract" / "errors.json").read_text(encoding="utf-8")
    entries: dict[str, Entry] = json.loads(text)
    return entries


class _Fields(dict[str, object]):
    """A field that the raiser did not know stays visible as its name."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


class CtmahoutError(Exception):
    """An error that a user can act on.

    Parameters
    ----------
    code : str
        A code of the catalogue, ``CTM_...``.
    **fields
        What the catalogue's message and hint name in braces.

    Attributes
    ----------
    code, message, hint : str
    exit_code : int
        What the command line exits with: 1 a defect of ctmahout, 2 usage, 3 input, 4 exchange, 5 engine, 6 output,
        130 interrupted.
    """

    def __new__(cls, code: str, **fields: object) -> CtmahoutError:
        # `raise CtmahoutError(code)` gives the child that the exit code stands for, so callers can catch by kind.
        if cls is CtmahoutError:
            cls = _BY_EXIT[catalogue()[code]["exit"]]
        return super().__new__(cls, code)

    def __init__(self, code: str, **fields: object) -> None:
        entry = catalogue()[code]
        self.code = code
        self.fields = fields
        self.message = entry["message"].format_map(_Fields(fields))
        self.hint = entry["hint"].format_map(_Fields(fields))
        self.exit_code = entry["exit"]
        super().__init__(f"[{code}] {self.message} {self.hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process pools by pickle, which would call __init__ with the message alone.
        return _rebuild, (self.code, self.fields, self.message)

    def rename(self, old: str, new: str) -> None:
        """Put another name for what the message and the hint speak of."""
        self.message, self.hint = self.message.replace(old, new), self.hint.replace(old, new)
        self.args = (f"[{self.code}] {self.message} {self.hint}",)

    def as_dict(self) -> dict[str, object]:
        """Return the error as what ``--json`` prints."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "exit_code": self.exit_code}


class ConfigError(CtmahoutError):
    """An option, a configuration file or a request is not valid (exit code 2)."""


class InputError(CtmahoutError):
    """The images given cannot be used (exit code 3)."""


class ExchangeError(CtmahoutError):
    """A matrix or factors directory is not valid (exit code 4)."""


class EngineError(CtmahoutError):
    """Java, Spark or the decomposition failed (exit code 5)."""


class OutputError(CtmahoutError):
    """The result cannot be written where it should go (exit code 6)."""


class InternalError(CtmahoutError):
    """ctmahout failed in a way that it does not know (exit code 1): a defect, to be reported."""


class Interrupted(CtmahoutError):  # noqa: N818 - not an error of anybody's
    """The user stopped the run (exit code 130)."""


class CtmahoutWarning(UserWarning):
    """Something that was let pass and is worth knowing."""


_BY_EXIT: dict[int, type[CtmahoutError]] = {
    1: InternalError,
    2: ConfigError,
    3: InputError,
    4: ExchangeError,
    5: EngineError,
    6: OutputError,
    130: Interrupted,
}


def _rebuild(code: str, fields: dict[str, object], message: str) -> CtmahoutError:
    error = CtmahoutError(code, **fields)
    _say(error, message)
    return error


def _say(error: CtmahoutError, message: str) -> None:
    error.message = message
    error.args = (f"[{error.code}] {message} {error.hint}",)


_TAGGED = re.compile(r"\[(CTM_[A-Z_]+)\] ([^\r\n]*)")
# What the catalogue leaves open in a hint is not part of a message from elsewhere.
_OPEN = re.compile(r"\{\w+\}")


def too_large(file: object, limit: int) -> InputError:
    """Return the error of a file that unpacks to more than a limit in bytes."""
    return InputError("CTM_UNPACKED_TOO_LARGE", file=file, limit=f"{limit / (1 << 30):g}")


def from_text(text: str) -> CtmahoutError | None:
    """Return the error that a text from the JVM or from another process carries, or None.

    Every message of ours begins with its code in brackets, wherever Spark wraps it: the first one found is the cause.
    """
    for code, message in _TAGGED.findall(text):
        if code in catalogue():
            error = CtmahoutError(code)
            error.hint = _OPEN.sub("...", error.hint)
            _say(error, message.strip())
            return error
    return None
