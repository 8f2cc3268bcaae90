"""The interface of all engines: a request in, a factors directory and its manifest out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeVar

from .executors import Executors
from .request import Request
from .workers import Threads, Workers

__all__ = ["Engine"]

Self = TypeVar("Self", bound="Engine")


class Engine(ABC):
    """Runs the decomposition. Use it in a ``with`` statement, or call `close`.

    Attributes
    ----------
    name : str
        One of `ctmahout.options.ENGINES`.
    session : SparkSession or None
        The Spark session that this process shares with the engine, if there is one.
    """

    name: ClassVar[str]
    session: Any = None

    @abstractmethod
    def run(self, request: Request) -> dict[str, Any]:
        """Decompose the matrices of a request, write the factors directory and return its manifest.

        After an error or Ctrl-C no partial output remains.

        Raises
        ------
        CtmahoutError
            Every engine raises the same code for the same fault.
        """

    def workers(self, threads: int | None = None) -> Workers:
        """Return the executors of the session or, without a session, threads of this process.

        Parameters
        ----------
        threads : int, optional
            Number of threads; as many as cores if not given. The number of executors is Spark's.
        """
        return Threads.of(threads) if self.session is None else Executors(self.session)

    def close(self) -> None:  # noqa: B027 - most engines keep nothing running between requests
        """Stop what this engine started, and nothing else."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
