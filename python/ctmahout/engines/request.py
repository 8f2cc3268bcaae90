"""What an engine is asked: the request of contract/v1."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import ConfigError
from ..options import ALGORITHMS
from ..storage import hadoop_name

__all__ = ["Request"]

_LARGEST_SEED = (1 << 53) - 1
_ABSOLUTE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]+:")


@dataclass(frozen=True)
class Request:
    """One decomposition: which matrices, how, and where the factors go.

    Values are checked when the record is made, by the rules of contract/v1/request.schema.json.

    Attributes
    ----------
    input, output : str
        Absolute paths or URIs of a matrix directory and of the factors directory to write.
    groups : tuple of int or None
        Groups of the matrix directory; None: all.
    algorithm : str
        "dssvd"; "exact": from A'A in one pass, p and q count for nothing; "dspca": dssvd of A less its column means;
        "auto": dssvd or exact, see `ctmahout.engines.choice`.
    k : int or None
        Components to compute; None: as many as there are columns.
    p : int
        Oversampling: columns of the random projection beyond k.
    q : int
        Power iterations, 0 to 20.
    seed : int
        Seed of the random projection, 0 to 2^53 - 1.
    want : tuple of str
        "s" and "v", and "u" if U is wanted.
    partitions : int or None
        Spark partitions; None: automatic.
    overwrite : bool
        Replace what ctmahout wrote to `output` before.

    Raises
    ------
    ConfigError
        CTM_REQUEST_INVALID.
    """

    input: str
    output: str
    groups: tuple[int, ...] | None = None
    algorithm: str = "dssvd"
    k: int | None = None
    p: int = 15
    q: int = 1
    seed: int = 0
    want: tuple[str, ...] = ("s", "v")
    partitions: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for key in ("input", "output"):
            value = getattr(self, key)
            # A relative path would mean one place to Python and another to a driver in some other folder.
            if not isinstance(value, str) or not _ABSOLUTE.match(value):
                raise _expected(key, value, "an absolute path or a URI")
        if self.groups is not None:
            object.__setattr__(self, "groups", tuple(self.groups))
            for group in self.groups:
                _integer("a group", group, 0, (1 << 31) - 1)
            if not self.groups or len(set(self.groups)) < len(self.groups):
                raise _expected("groups", list(self.groups), "each group once, and one at least")
        if self.algorithm not in ALGORITHMS:
            raise _expected("algorithm", self.algorithm, "one of " + ", ".join(ALGORITHMS))
        if self.k is not None:
            _integer("k", self.k, 1, (1 << 63) - 1)
        _integer("p", self.p, 0, (1 << 31) - 1)
        _integer("q", self.q, 0, 20)
        _integer("seed", self.seed, 0, _LARGEST_SEED)
        if self.partitions is not None:
            _integer("partitions", self.partitions, 1, 100_000)
        object.__setattr__(self, "want", tuple(self.want))
        if "s" not in self.want or not set(self.want) <= {"s", "v", "u"} or len(set(self.want)) < len(self.want):
            raise _expected("want", list(self.want), '["s", "v"] or ["s", "v", "u"]')
        if not isinstance(self.overwrite, bool):
            raise _expected("overwrite", self.overwrite, "true or false")

    def to_dict(self) -> dict[str, Any]:
        """Return the request as JSON has it."""
        values = asdict(self)
        values["groups"] = "all" if self.groups is None else list(self.groups)
        values["want"] = list(self.want)
        return values

    def to_json(self) -> str:
        """Return the request as the one string that crosses to the JVM."""
        places = {key: hadoop_name(getattr(self, key)) for key in ("input", "output")}
        return json.dumps(self.to_dict() | places, ensure_ascii=True)

    def parameters(self) -> dict[str, Any]:
        """Return the part that the numbers depend on, for the manifest of the factors."""
        want = ["s", "v", "u"] if "u" in self.want else ["s", "v"]
        return {
            "algorithm": self.algorithm,
            "k": self.k,
            "p": self.p,
            "q": self.q,
            "seed": self.seed,
            "want": want,
        }


def _expected(key: str, value: object, expected: str) -> ConfigError:
    return ConfigError("CTM_REQUEST_INVALID", problem=f"{key} is {value!r}, expected {expected}")


def _integer(key: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _expected(key, value, f"a whole number from {least} to {most}")
