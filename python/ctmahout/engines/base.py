"""What every engine to the decomposition is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeVar

from .request import Request

__all__ = ["Engine"]

Own = TypeVar("Own", bound="Engine")


class Engine(ABC):
    """A way to the decomposition. Use it in a ``with`` statement, or close it.

    Attributes
    ----------
    name : str
        One of `ctmahout.options.ENGINES`.
    """

    name: ClassVar[str]

    @abstractmethod
    def run(self, request: Request) -> dict[str, Any]:
        """Decompose, write the factors directory and return its manifest.

        On any error, and on Ctrl-C, nothing half-written is left.

        Raises
        ------
        CtmahoutError
            The same code for the same fault through every engine.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to stop: what they start ends with its request
        """Stop what this engine started, and nothing else."""

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
