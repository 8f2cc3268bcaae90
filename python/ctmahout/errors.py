"""Errors with a code, a message and a hint, from a catalogue.

The catalogue, ``contract/v1/errors.json``, is shared with the JVM: one text for each code in both languages.
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
    """Values of the placeholders in a text; a missing one is shown as its name in braces."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


class CtmahoutError(Exception):
    """An error that a user can act on.

    Parameters
    ----------
    code : str
        A code of the catalogue, ``CTM_...``.
    **fields
        Values of the placeholders in the catalogue's message and hint.

    Attributes
    ----------
    code, message, hint : str
    fields : dict
    exit_code : int
        Exit code of the command: 1 defect of ctmahout, 2 usage, 3 input, 4 exchange, 5 engine, 6 output, 130
        interrupted.
    """

    def __new__(cls, code: str, **fields: object) -> CtmahoutError:
        # `raise CtmahoutError(code)` raises the subclass of the code's exit code, so that callers can catch it.
        if cls is CtmahoutError:
            cls = _CLASS_BY_EXIT_CODE[catalogue()[code]["exit"]]
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
        # Exceptions are pickled between processes, which would call __init__ with the message alone.
        return _unpickle, (self.code, self.fields, self.message, self.hint)

    def rename(self, old: str, new: str) -> None:
        """Replace a path in message, hint and fields."""
        self.message, self.hint = self.message.replace(old, new), self.hint.replace(old, new)
        self.fields = {
            key: str(value).replace(old, new) if old in str(value) else value for key, value in self.fields.items()
        }
        self.args = (f"[{self.code}] {self.message} {self.hint}",)

    def append_hint(self, sentence: str) -> None:
        """Append a sentence to the hint."""
        self.hint = f"{self.hint} {sentence}"
        self.args = (f"[{self.code}] {self.message} {self.hint}",)

    def as_dict(self) -> dict[str, object]:
        """Return the error as ``--json`` prints it."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "exit_code": self.exit_code}


class ConfigError(CtmahoutError):
    """An option, a configuration file or a request is invalid (exit code 2)."""


class InputError(CtmahoutError):
    """The input cannot be used (exit code 3)."""


class ExchangeError(CtmahoutError):
    """A matrix, factors or model directory is invalid (exit code 4)."""


class EngineError(CtmahoutError):
    """Java, Spark or the decomposition failed (exit code 5)."""


class OutputError(CtmahoutError):
    """The output cannot be written (exit code 6)."""


class InternalError(CtmahoutError):
    """An unexpected failure (exit code 1): a defect of ctmahout, to be reported."""


class Interrupted(CtmahoutError):  # noqa: N818 - not an error
    """The user stopped the run (exit code 130)."""


class CtmahoutWarning(UserWarning):
    """A tolerated problem that the user should know about."""


_CLASS_BY_EXIT_CODE: dict[int, type[CtmahoutError]] = {
    1: InternalError,
    2: ConfigError,
    3: InputError,
    4: ExchangeError,
    5: EngineError,
    6: OutputError,
    130: Interrupted,
}


def _unpickle(code: str, fields: dict[str, object], message: str, hint: str) -> CtmahoutError:
    error = CtmahoutError(code, **fields)
    error.hint = hint
    _set_message(error, message)
    return error


def _set_message(error: CtmahoutError, message: str) -> None:
    error.message = message
    error.args = (f"[{error.code}] {message} {error.hint}",)


_CODE_AND_MESSAGE = re.compile(r"\[(CTM_[A-Z_]+)\] ([^\r\n]*)")
_PLACEHOLDER = re.compile(r"\{\w+\}")


def too_large(file: object, limit: int) -> InputError:
    """Return the error of a file whose unpacked size exceeds the limit in bytes."""
    return InputError("CTM_UNPACKED_TOO_LARGE", file=file, limit=f"{limit / (1 << 30):g}")


def from_text(text: str) -> CtmahoutError | None:
    """Return the first error in a text from the JVM or another process, or None.

    Messages of ctmahout begin with their code in brackets, and Spark quotes the cause first.
    """
    for code, message in _CODE_AND_MESSAGE.findall(text):
        if code in catalogue():
            error = CtmahoutError(code)
            error.hint = _PLACEHOLDER.sub("...", error.hint)  # the text does not contain the fields
            _set_message(error, message.strip())
            return error
    return None
