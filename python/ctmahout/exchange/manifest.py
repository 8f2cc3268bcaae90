"""``_ctmahout.json``: what a directory holds, checked by hand after contract/v1/manifest.schema.json."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CtmahoutError, ExchangeError, InputError

__all__ = [
    "NAME",
    "VERSION",
    "Group",
    "Manifest",
    "is_exchange",
    "is_manifest",
    "is_no_row",
    "read_manifest",
    "write_manifest",
]

NAME = "_ctmahout.json"
VERSION = "1.0"
_KINDS = {"matrix": "a matrix", "factors": "factors", "model": "a model"}
_CHECKSUM = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Group:
    """One matrix, or the factors of one.

    Attributes
    ----------
    group : int
        Its number in the directory.
    rows, columns : int
        Shape (m, n) of the matrix.
    checksum : str or None
        Of a matrix.
    rank : int
        Components, in factors; else 0.
    checksums : dict of str
        Of s, v and maybe u, in factors.
    squared_norm : float or None
        Squared Frobenius norm of the matrix, in factors.
    """

    group: int
    rows: int
    columns: int
    checksum: str | None = None
    rank: int = 0
    checksums: dict[str, str] = field(default_factory=dict)
    squared_norm: float | None = None


@dataclass(frozen=True)
class Manifest:
    """What `_ctmahout.json` says. Fields that this version does not know are kept, see `to_dict`.

    Attributes
    ----------
    kind : str
        "matrix", "factors" or "model".
    exchange_version : str
        For instance "1.0".
    dtype : str
        "float32" or "float64": element type of a matrix, or of U.
    groups : tuple of Group
        In ascending order; none in a model.
    units : str or None
    centring : str or None
        "none" or "columns": of a matrix, what its writer took off; of factors, whether they are of the matrix less the
        mean of each column.
    layout : dict
        What inverts the matrix into a volume.
    request : dict
        Of factors: algorithm, k, p, q, seed, want.
    chosen : dict of str
        Of factors for which "auto" was asked: the algorithm taken, and why; else empty.
    input_sha256 : str or None
        Of factors: of the manifest file of the matrix.
    writer : dict
        Name and version of the program, and what it ran on.
    timings_s : dict of float
    warnings : tuple of str
    sha256 : str
        Of the file itself.
    """

    kind: str
    exchange_version: str
    dtype: str
    groups: tuple[Group, ...]
    units: str | None
    centring: str | None
    layout: dict[str, Any]
    request: dict[str, Any]
    input_sha256: str | None
    writer: dict[str, Any]
    timings_s: dict[str, float]
    warnings: tuple[str, ...]
    sha256: str
    chosen: dict[str, str]
    _raw: dict[str, Any] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return everything the file holds, as JSON has it."""
        return copy.deepcopy(self._raw)


def read_manifest(path: str | Path, kind: str | None = None) -> Manifest:
    """Read and check the manifest of an exchange directory.

    Parameters
    ----------
    path : path
        The directory.
    kind : str, optional
        "matrix" or "factors", if only one of them will do.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_INPUT_UNREADABLE.
    ExchangeError
        CTM_EXCHANGE_NOT_COMMITTED, CTM_EXCHANGE_MANIFEST, CTM_EXCHANGE_KIND, CTM_EXCHANGE_VERSION, CTM_EXCHANGE_WIDE.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("CTM_INPUT_NOT_FOUND", path=path)
    try:
        text = (path / NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ExchangeError("CTM_EXCHANGE_NOT_COMMITTED", path=path) from None
    except OSError as e:
        raise InputError("CTM_INPUT_UNREADABLE", file=path / NAME, problem=e.strerror or e) from None
    try:
        manifest = _parse(text, kind)
    except _MalformedError as e:
        raise ExchangeError("CTM_EXCHANGE_MANIFEST", path=path, problem=e) from None
    except _RefusedError as e:
        raise ExchangeError(e.code, path=path, given=e.given, expected=e.expected) from None
    if manifest.kind == "matrix":
        for g in manifest.groups:
            if g.rows < g.columns:
                raise ExchangeError("CTM_EXCHANGE_WIDE", path=path, group=g.group, rows=g.rows, columns=g.columns)
    return manifest


def pick(path: Path, manifest: Manifest, groups: Sequence[int]) -> list[Group]:
    """Return the groups of these numbers; CTM_EXCHANGE_GROUP_UNKNOWN if one is not there."""
    known = {g.group: g for g in manifest.groups}
    for number in groups:
        if number not in known:
            raise ExchangeError("CTM_EXCHANGE_GROUP_UNKNOWN", path=path, group=number, groups=shown(list(known)))
    return [known[number] for number in groups]


def shown(groups: Sequence[int]) -> str:
    """Return group numbers for a message; a thousand of them are not listed one by one."""
    listed = sorted(groups)
    if len(listed) > 10:
        return f"{', '.join(map(str, listed[:9]))}, ... {listed[-1]}"
    return ", ".join(map(str, listed))


def write_manifest(folder: Path, values: dict[str, Any]) -> Manifest:
    """Write `_ctmahout.json` into a folder that is otherwise complete, and return it as a reader sees it."""
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    manifest = _parse(text, values["kind"])
    (folder / NAME).write_bytes(text)
    return manifest


def is_manifest(name: str) -> bool:
    """Tell whether a file of an exchange directory is its manifest; names are relative to the directory."""
    return name == NAME


def is_no_row(name: str) -> bool:
    """Tell whether a file of a matrix directory is something else than rows: what inverts it needs no more."""
    return "/" in name or not name.endswith(".parquet")


def is_exchange(path: Path) -> bool:
    """Tell whether a directory is one of ours: only such a one is ever replaced."""
    try:
        read_manifest(path)
    except CtmahoutError as e:
        return e.code in ("CTM_EXCHANGE_VERSION", "CTM_EXCHANGE_WIDE")
    return True


# ----------------------------------------------------------------------------------------------------------- the form


class _MalformedError(Exception):
    """What is wrong with the form, as a part of a sentence."""


class _RefusedError(Exception):
    """A manifest of the right form that is not for this reader."""

    def __init__(self, code: str, given: str, expected: str) -> None:
        super().__init__(code)
        self.code, self.given, self.expected = code, given, expected


def _parse(text: bytes, kind: str | None) -> Manifest:
    try:
        json_object = json.loads(text.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as e:
        place = f" at line {e.lineno}, column {e.colno}" if isinstance(e, json.JSONDecodeError) else ""
        raise _MalformedError(f"it is not JSON{place}") from None
    if not isinstance(json_object, dict):
        raise _MalformedError("it is not a JSON object")
    _check_kind_and_version(json_object, kind)
    form = _Form(json_object)
    factors = json_object["kind"] == "factors"
    writer = form.object("writer", required=True)
    for key in ("name", "version"):
        if not isinstance(writer.get(key), str):
            raise _MalformedError(f"writer.{key} is missing or no text")
    listed = form.objects("groups") if json_object["kind"] != "model" else []
    groups = sorted((_group(_Form(g), factors) for g in listed), key=lambda g: g.group)
    if len({g.group for g in groups}) < len(groups):
        raise _MalformedError("a group is listed twice")
    if len({g.columns for g in groups}) > 1:
        raise _MalformedError("its groups differ in columns")
    sha256 = form.text("input_sha256", "[0-9a-f]{64}", required=factors)
    return Manifest(
        kind=json_object["kind"],
        exchange_version=json_object["exchange_version"],
        dtype=form.text("dtype", "float32|float64", required=True) or "",
        groups=tuple(groups),
        units=form.text("units"),
        centring=form.text("centring", "none|columns"),
        layout=form.object("layout"),
        request=form.object("request", required=factors),
        input_sha256=sha256,
        writer=writer,
        timings_s=form.object("timings_s"),
        warnings=tuple(form.texts("warnings")),
        sha256=hashlib.sha256(text).hexdigest(),
        chosen=form.object("chosen"),
        _raw=json_object,
    )


def _check_kind_and_version(json_object: dict[str, Any], kind: str | None) -> None:
    given = json_object.get("kind")
    if not isinstance(given, str):
        raise _MalformedError("kind is missing or no text")
    if given not in _KINDS or kind not in (None, given):
        expected = _KINDS[kind] if kind else " or ".join(_KINDS.values())
        raise _RefusedError("CTM_EXCHANGE_KIND", _KINDS.get(given, f"a {given}"), expected)
    version = json_object.get("exchange_version")
    if not isinstance(version, str) or not re.fullmatch(r"[0-9]+\.[0-9]+", version):
        raise _MalformedError("exchange_version is missing or not of the form 1.0")
    if version.partition(".")[0] != VERSION.partition(".")[0]:
        raise _RefusedError("CTM_EXCHANGE_VERSION", version, VERSION)


def _group(form: _Form, factors: bool) -> Group:
    checksums = form.object("checksums", required=factors)
    if factors and not {"s", "v"} <= checksums.keys():
        raise _MalformedError("checksums has not both s and v")
    for name, value in checksums.items():
        if not isinstance(value, str) or not _CHECKSUM.fullmatch(value):
            raise _MalformedError(f"checksums.{name} is {value!r}, expected 16 hexadecimal digits")
    return Group(
        group=form.integer("group", 0, (1 << 31) - 1),
        rows=form.integer("rows", 1, (1 << 63) - 1),
        columns=form.integer("columns", 1, (1 << 31) - 1),
        checksum=form.text("checksum", "[0-9a-f]{16}", required=not factors),
        rank=form.integer("rank", 0, (1 << 31) - 1) if factors else 0,
        checksums=checksums,
        squared_norm=form.number("squared_norm") if factors else None,
    )


class _Form:
    """Takes fields out of a JSON object, or says what is wrong with them."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def _get(self, key: str, required: bool) -> Any:
        if required and key not in self.values:
            raise _MalformedError(f"{key} is missing")
        return self.values.get(key)

    def text(self, key: str, pattern: str = ".*", *, required: bool = False) -> str | None:
        value = self._get(key, required)
        if value is None and key not in self.values:
            return None
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.DOTALL):
            raise _MalformedError(f"{key} is {value!r}, expected {'a text' if pattern == '.*' else pattern}")
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        value = self._get(key, True)
        # JSON knows one kind of number: 3.0 is the integer 3, as the schema has it.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _MalformedError(f"{key} is {value!r}, expected an integer of at least {least}")
        return value

    def number(self, key: str) -> float:
        value = self._get(key, True)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise _MalformedError(f"{key} is {value!r}, expected a number")
        return float(value)

    def object(self, key: str, *, required: bool = False) -> dict[str, Any]:
        value = self._get(key, required)
        if value is None and key not in self.values:
            return {}
        if not isinstance(value, dict):
            raise _MalformedError(f"{key} is {value!r}, expected an object")
        return value

    def objects(self, key: str) -> list[dict[str, Any]]:
        value = self._get(key, True)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise _MalformedError(f"{key} is not a list of one or more objects")
        return value

    def texts(self, key: str) -> list[str]:
        value = self._get(key, False) if key in self.values else []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _MalformedError(f"{key} is not a list of texts")
        return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is there twice")
    return values
