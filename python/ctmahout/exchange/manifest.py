"""``_ctmahout.json``, the manifest of an exchange directory: read, validated in code against the schema, written.

The schema is contract/v1/manifest.schema.json.
"""

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
    "is_sidecar",
    "read_manifest",
    "select_groups",
    "write_manifest",
]

NAME = "_ctmahout.json"
VERSION = "1.1"
_KINDS = {"matrix": "a matrix", "factors": "factors", "model": "a model"}
_CHECKSUM = re.compile(r"[0-9a-f]{16}")
_PART = re.compile(r"((s|v|u|arrays/(?!\.)[^/]+)/)?part-[^/]+\.parquet")


@dataclass(frozen=True)
class Group:
    """The entry of one matrix or of its factors.

    Attributes
    ----------
    group : int
        Number in the directory.
    rows, columns : int
        Shape (m, n) of the matrix.
    checksum : str or None
        In a matrix directory.
    rank : int
        Number of components in a factors directory; else 0.
    checksums : dict of str
        Those of s, v and optionally u in a factors directory.
    squared_norm : float or None
        Squared Frobenius norm of the matrix, in a factors directory.
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
    """The content of `_ctmahout.json`; `to_dict` also returns fields that this version does not know.

    Attributes
    ----------
    kind : str
        "matrix", "factors" or "model".
    exchange_version : str
        For instance "1.1".
    dtype : str
        "float32" or "float64": that of a matrix, or of U.
    groups : tuple of Group
        In ascending order; none in a model.
    units : str or None
    centring : str or None
        "columns" if column means were subtracted, by the writer of the matrix or before the decomposition; else "none".
    layout : dict
        Data that inverts the matrix into a volume.
    request : dict
        In factors: algorithm, k, p, q, seed, want.
    chosen : dict of str
        In factors of a request for "auto": the algorithm chosen, and why; else empty.
    input_sha256 : str or None
        In factors: `sha256` of the matrix.
    writer : dict
        Name and version of the program, and its engine.
    timings_s : dict of float
    warnings : tuple of str
    sha256 : str
        SHA-256 of the file itself.
    files : tuple of str, or None
        Names of all part files, relative to the directory. None in version 1.0: there all that exist belong to it.
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
    files: tuple[str, ...] | None
    _raw: dict[str, Any] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole file, as JSON types."""
        return copy.deepcopy(self._raw)

    def part_files(self, path: Path, folder: str = "") -> list[Path]:
        """Return the part files of the exchange directory `path`, or of a folder in it, that belong to it."""
        if self.files is None:
            return sorted((path / folder).glob("part-*.parquet"))
        return [path / name for name in self.files if name.rpartition("/")[0] == folder]


def read_manifest(path: str | Path, kind: str | None = None) -> Manifest:
    """Read and check the manifest of an exchange directory.

    Parameters
    ----------
    path : path
        The directory.
    kind : str, optional
        Refuse other kinds than this one: "matrix", "factors" or "model".

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
        raise ExchangeError(e.code, path=path, **e.fields) from None
    if manifest.kind == "matrix":
        for g in manifest.groups:
            if g.rows < g.columns:
                raise ExchangeError("CTM_EXCHANGE_WIDE", path=path, group=g.group, rows=g.rows, columns=g.columns)
    return manifest


def select_groups(path: Path, manifest: Manifest, groups: Sequence[int]) -> list[Group]:
    """Return the entries of these group numbers; CTM_EXCHANGE_GROUP_UNKNOWN if one is missing."""
    known = {g.group: g for g in manifest.groups}
    for number in groups:
        if number not in known:
            raise ExchangeError("CTM_EXCHANGE_GROUP_UNKNOWN", path=path, group=number, groups=_list_groups(list(known)))
    return [known[number] for number in groups]


def _list_groups(groups: Sequence[int]) -> str:
    """Return group numbers for a message, abbreviated if there are more than ten."""
    ordered = sorted(groups)
    if len(ordered) > 10:
        return f"{', '.join(map(str, ordered[:9]))}, ... {ordered[-1]}"
    return ", ".join(map(str, ordered))


def write_manifest(folder: Path, values: dict[str, Any]) -> Manifest:
    """Write `_ctmahout.json` into an otherwise complete folder, and return it as `read_manifest` does.

    The part files of the folder are added to `values`: only files that a manifest names belong to its directory.
    """
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("part-*.parquet"))
    values = {**values, "files": files}
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    manifest = _parse(text, values["kind"])
    (folder / NAME).write_bytes(text)
    return manifest


def is_manifest(name: str) -> bool:
    """Return whether a file, by its name relative to an exchange directory, is the manifest."""
    return name == NAME


def is_sidecar(name: str) -> bool:
    """Return whether a file of a matrix directory holds no rows: the inversion reads only such files."""
    return "/" in name or not name.endswith(".parquet")


def is_exchange(path: Path) -> bool:
    """Return whether a path is an exchange directory, which may be replaced."""
    try:
        read_manifest(path)
    except CtmahoutError as e:
        return e.code in ("CTM_EXCHANGE_VERSION", "CTM_EXCHANGE_WIDE")
    return True


# ----------------------------------------------------------------------------------------------------------- parsing


class _MalformedError(Exception):
    """A violation of the schema; its text is a clause of a sentence."""


class _RefusedError(Exception):
    """A valid manifest of another kind or version."""

    def __init__(self, code: str, **fields: str) -> None:
        super().__init__(code)
        self.code, self.fields = code, fields


def _parse(text: bytes, kind: str | None) -> Manifest:
    try:
        json_object = json.loads(text.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as e:
        place = f" at line {e.lineno}, column {e.colno}" if isinstance(e, json.JSONDecodeError) else ""
        raise _MalformedError(f"it is not JSON{place}") from None
    if not isinstance(json_object, dict):
        raise _MalformedError("it is not a JSON object")
    _check_kind_and_version(json_object, kind)
    fields = _FieldReader(json_object)
    factors = json_object["kind"] == "factors"
    writer = fields.object("writer", required=True)
    for key in ("name", "version"):
        if not isinstance(writer.get(key), str):
            raise _MalformedError(f"writer.{key} is missing or no text")
    entries = fields.objects("groups") if json_object["kind"] != "model" else []
    groups = sorted((_group(_FieldReader(g), factors) for g in entries), key=lambda g: g.group)
    if len({g.group for g in groups}) < len(groups):
        raise _MalformedError("a group is listed twice")
    if len({g.columns for g in groups}) > 1:
        raise _MalformedError("its groups differ in columns")
    sha256 = fields.text("input_sha256", "[0-9a-f]{64}", required=factors)
    return Manifest(
        kind=json_object["kind"],
        exchange_version=json_object["exchange_version"],
        dtype=fields.text("dtype", "float32|float64", required=True) or "",
        groups=tuple(groups),
        units=fields.text("units"),
        centring=fields.text("centring", "none|columns"),
        layout=fields.object("layout"),
        request=fields.object("request", required=factors),
        input_sha256=sha256,
        writer=writer,
        timings_s=fields.object("timings_s"),
        warnings=tuple(fields.texts("warnings")),
        sha256=hashlib.sha256(text).hexdigest(),
        chosen=fields.object("chosen"),
        files=_files(fields),
        _raw=json_object,
    )


def _check_kind_and_version(json_object: dict[str, Any], kind: str | None) -> None:
    actual = json_object.get("kind")
    if not isinstance(actual, str):
        raise _MalformedError("kind is missing or no text")
    if actual not in _KINDS or kind not in (None, actual):
        expected = _KINDS[kind] if kind else " or ".join(_KINDS.values())
        raise _RefusedError("CTM_EXCHANGE_KIND", given=_KINDS.get(actual, f"a {actual}"), expected=expected)
    version = json_object.get("exchange_version")
    if not isinstance(version, str) or not re.fullmatch(r"[0-9]+\.[0-9]+", version):
        raise _MalformedError("exchange_version is missing or not of the form 1.0")
    if version.partition(".")[0] != VERSION.partition(".")[0]:
        raise _RefusedError("CTM_EXCHANGE_VERSION", given=version, expected=VERSION)


def _files(fields: _FieldReader) -> tuple[str, ...] | None:
    if "files" not in fields.values and fields.values["exchange_version"] == "1.0":
        return None
    files = fields.texts("files", required=True)
    for name in files:
        if not _PART.fullmatch(name):
            raise _MalformedError(f"files has {name!r}, which is no name of a part file")
    if len(set(files)) < len(files):
        raise _MalformedError("a file is listed twice")
    return tuple(sorted(files))


def _group(fields: _FieldReader, factors: bool) -> Group:
    checksums = fields.object("checksums", required=factors)
    if factors and not {"s", "v"} <= checksums.keys():
        raise _MalformedError("checksums has not both s and v")
    for name, value in checksums.items():
        if not isinstance(value, str) or not _CHECKSUM.fullmatch(value):
            raise _MalformedError(f"checksums.{name} is {value!r}, expected 16 hexadecimal digits")
    return Group(
        group=fields.integer("group", 0, (1 << 31) - 1),
        rows=fields.integer("rows", 1, (1 << 63) - 1),
        columns=fields.integer("columns", 1, (1 << 31) - 1),
        checksum=fields.text("checksum", "[0-9a-f]{16}", required=not factors),
        rank=fields.integer("rank", 0, (1 << 31) - 1) if factors else 0,
        checksums=checksums,
        squared_norm=fields.number("squared_norm") if factors else None,
    )


class _FieldReader:
    """Reads fields of a JSON object; raises _MalformedError for an invalid one."""

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
        # JSON has one type of number: to the schema 3.0 is the integer 3.
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

    def texts(self, key: str, *, required: bool = False) -> list[str]:
        value = self._get(key, required) if required or key in self.values else []
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
