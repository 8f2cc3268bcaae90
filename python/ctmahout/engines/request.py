"""The request of contract/v1: the input of every engine."""

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
    """One decomposition: matrices, parameters and the place of the factors.

    Values are checked on construction, by the rules of contract/v1/request.schema.json.

    Attributes
    ----------
    input, output : str
        Absolute paths or URIs of a matrix directory and of the factors directory to write.
    groups : tuple of int or None
        Numbers of the matrices in the directory; None: all.
    algorithm : str
        "dssvd"; "exact": from A'A in one pass, without p and q; "dspca": dssvd of A less its column means;
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
        Replace an earlier output of ctmahout.

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
            # A driver may have another working directory, where a relative path is another place.
            if not isinstance(value, str) or not _ABSOLUTE.match(value):
                raise _invalid(key, value, "an absolute path or a URI")
        if self.groups is not None:
            object.__setattr__(self, "groups", tuple(self.groups))
            for group in self.groups:
                _check_integer("a group", group, 0, (1 << 31) - 1)
            if not self.groups or len(set(self.groups)) < len(self.groups):
                raise _invalid("groups", list(self.groups), "each group once, and one at least")
        if self.algorithm not in ALGORITHMS:
            raise _invalid("algorithm", self.algorithm, "one of " + ", ".join(ALGORITHMS))
        if self.k is not None:
            _check_integer("k", self.k, 1, (1 << 63) - 1)
        _check_integer("p", self.p, 0, (1 << 31) - 1)
        _check_integer("q", self.q, 0, 20)
        _check_integer("seed", self.seed, 0, _LARGEST_SEED)
        if self.partitions is not None:
            _check_integer("partitions", self.partitions, 1, 100_000)
        object.__setattr__(self, "want", tuple(self.want))
        if "s" not in self.want or not set(self.want) <= {"s", "v", "u"} or len(set(self.want)) < len(self.want):
            raise _invalid("want", list(self.want), '["s", "v"] or ["s", "v", "u"]')
        if not isinstance(self.overwrite, bool):
            raise _invalid("overwrite", self.overwrite, "true or false")

    def to_dict(self) -> dict[str, Any]:
        """Return the request as JSON has it."""
        values = asdict(self)
        values["groups"] = "all" if self.groups is None else list(self.groups)
        values["want"] = list(self.want)
        return values

    def to_json(self) -> str:
        """Return the request as JSON for the JVM, with the URI schemes of Hadoop."""
        places = {key: hadoop_name(getattr(self, key)) for key in ("input", "output")}
        return json.dumps(self.to_dict() | places, ensure_ascii=True)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that the result depends on, for the manifest of the factors."""
        want = ["s", "v", "u"] if "u" in self.want else ["s", "v"]
        return {
            "algorithm": self.algorithm,
            "k": self.k,
            "p": self.p,
            "q": self.q,
            "seed": self.seed,
            "want": want,
        }


def _invalid(key: str, value: object, expected: str) -> ConfigError:
    return ConfigError("CTM_REQUEST_INVALID", problem=f"{key} is {value!r}, expected {expected}")


def _check_integer(key: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _invalid(key, value, f"a whole number from {least} to {most}")
