"""Makes contract/v1/golden/python-*-files and contract/v1/bad/*: run it after a change, commit the result.

The other golden directories were written by version 1.0 and stay as they are: they must be read for ever.
``index.json`` holds the code with which every reader refuses each bad directory; both languages' tests read it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ctmahout.engines.numpy_svd import dssvd
from ctmahout.exchange import Svd, checksum, write_factors, write_matrix, write_model

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"

# 6 x 3, integers: the same in float32 and float64, and easy on the eye.
A = np.array([[1, -2, 3], [0, 5, -1], [2, 2, 2], [-4, 1, 0], [7, -3, 1], [1, 1, -6]], dtype=np.float32)
ROWS = list(range(6))
ENTRY = {"group": 0, "rows": 6, "columns": 3, "checksum": checksum(A)}
# Of version 1.0, whose readers take every part file that is there, but where files are named.
MANIFEST: dict[str, Any] = {
    "kind": "matrix",
    "exchange_version": "1.0",
    "dtype": "float32",
    "units": "1",
    "centring": "none",
    "groups": [ENTRY],
    "layout": {},
    "writer": {"name": "ctmahout", "version": "0.1.0"},
}
NO_GROUPS = {k: v for k, v in MANIFEST.items() if k != "groups"}
INDEX: dict[str, str] = {}


def schema(*, row: str = "int64", element: str = "float32", leave_out: str = "", nullable: str = "") -> pa.Schema:
    values = pa.list_(pa.field("element", pa.type_for_alias(element), nullable=nullable == "element"))
    fields = {"group": pa.int32(), "row": pa.type_for_alias(row), "values": values}
    return pa.schema(
        [pa.field(name, kind, nullable=nullable == name) for name, kind in fields.items() if name != leave_out]
    )


def bad(
    name: str,
    code: str,
    rows: list[int] = ROWS,
    values: Any = A,
    *,
    manifest: Any = MANIFEST,
    form: pa.Schema | None = None,
    files: int = 2,
    group: int = 0,
) -> Path:
    """Write one directory: the sound one but for what is given."""
    INDEX[name] = f"CTM_EXCHANGE_{code}"
    folder = HERE / name
    folder.mkdir()
    if code in ("MANIFEST", "KIND", "VERSION", "WIDE"):
        files = 0  # refused before any file is looked for
    form = schema() if form is None else form
    lists = [[float(x) if form_is_float(form) else int(x) for x in row] for row in values]
    columns = {"group": [group] * len(rows), "row": rows, "values": lists}
    table = pa.table({field: columns[field] for field in form.names}, schema=form)
    step = -(-len(rows) // files) if files else 1
    for part in range(files):
        pq.write_table(
            table.slice(part * step, step),
            folder / f"part-{part:05d}.parquet",
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            store_schema=False,
            write_page_checksum=True,
        )
    if manifest is not None:
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        (folder / "_ctmahout.json").write_text(text + "\n", encoding="utf-8")
    return folder


def form_is_float(form: pa.Schema) -> bool:
    return "values" not in form.names or pa.types.is_floating(form.field("values").type.value_type)


def changed(at: int, values: list[Any]) -> list[list[Any]]:
    rows: list[list[Any]] = A.tolist()
    rows[at] = values
    return rows


def manifest(**fields: Any) -> dict[str, Any]:
    return {**MANIFEST, **fields}


def naming(*files: str) -> dict[str, Any]:
    return manifest(exchange_version="1.1", files=list(files))


def group(**fields: Any) -> dict[str, Any]:
    return manifest(groups=[{**ENTRY, **fields}])


def make_bad() -> None:
    for folder in HERE.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    # Step 1: the manifest.
    bad("not-committed", "NOT_COMMITTED", manifest=None)
    bad("manifest-no-json", "MANIFEST", manifest='{"kind": "matrix", ')
    bad("manifest-no-object", "MANIFEST", manifest='["matrix"]')
    bad("manifest-no-kind", "MANIFEST", manifest={k: v for k, v in MANIFEST.items() if k != "kind"})
    bad("manifest-no-dtype", "MANIFEST", manifest={k: v for k, v in MANIFEST.items() if k != "dtype"})
    bad("manifest-no-groups", "MANIFEST", manifest=manifest(groups=[]))
    bad("manifest-rows-text", "MANIFEST", manifest=group(rows="six"))
    bad("manifest-no-checksum", "MANIFEST", manifest=manifest(groups=[{"group": 0, "rows": 6, "columns": 3}]))
    bad("manifest-group-twice", "MANIFEST", manifest=manifest(groups=[ENTRY, ENTRY]))
    bad("kind-factors", "KIND", manifest=manifest(kind="factors"))
    bad("kind-model", "KIND", manifest={**NO_GROUPS, "kind": "model", "layout": {"arrays": {}}})
    bad("kind-unknown", "KIND", manifest=manifest(kind="tensor", exchange_version="9.9"))
    bad("version-2", "VERSION", manifest=manifest(exchange_version="2.0"))
    bad("version-2-of-another-form", "VERSION", manifest={"kind": "matrix", "exchange_version": "2.7", "blocks": 3})
    bad("files-not-named", "MANIFEST", manifest=manifest(exchange_version="1.1"))
    bad("file-twice", "MANIFEST", manifest=naming("part-00000.parquet", "part-00000.parquet"))
    for number, name in enumerate(
        ["../m/part-0.parquet", "/part-0.parquet", "arrays/../part-0.parquet", "part-0", "x"]
    ):
        bad(f"file-elsewhere-{number}", "MANIFEST", manifest=naming("part-00000.parquet", name))
    bad("wide", "WIDE", rows=[0, 1], values=A[:2], manifest=group(rows=2, checksum=checksum(A[:2])))
    # Step 2: part files. A file that is missing is named rather than the rows in it, or another that is damaged.
    bad("file-missing", "FILE_MISSING", manifest=naming("part-00000.parquet", "part-00001.parquet"), files=1)
    part = bad("file-missing-and-damaged", "FILE_MISSING", manifest=naming("part-00000.parquet", "part-7.parquet"))
    (part / "part-00000.parquet").write_text("group,row,values\n")
    bad("file-not-named", "ROW_MISSING", manifest=naming("part-00000.parquet"))
    bad("schema-no-row", "SCHEMA", form=schema(leave_out="row"))
    bad("schema-row-int32", "SCHEMA", form=schema(row="int32"))
    bad("schema-group-nullable", "SCHEMA", form=schema(nullable="group"))
    bad("schema-element-nullable", "SCHEMA", form=schema(nullable="element"))
    bad("schema-double", "SCHEMA", form=schema(element="float64"))
    bad("schema-integers", "SCHEMA", form=schema(element="int32"))
    part = bad("flipped-bit", "CORRUPT") / "part-00001.parquet"
    data = bytearray(part.read_bytes())
    data[data.index(A[3:].tobytes()) + 5] ^= 0x10
    part.write_bytes(data)
    part = bad("truncated", "CORRUPT") / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-40])
    part = bad("no-parquet", "CORRUPT") / "part-00001.parquet"
    part.write_text("group,row,values\n")
    # Step 3: the rows.
    bad("width-short", "WIDTH", values=changed(4, [7, -3]))
    bad("width-long", "WIDTH", values=changed(1, [0, 5, -1, 8]))
    bad("width-manifest", "WIDTH", manifest=group(columns=2))
    bad("nan", "NOT_FINITE", values=changed(5, [1, float("nan"), -6]))
    bad("infinity", "NOT_FINITE", values=changed(0, [1, float("-inf"), 3]))
    bad("row-out-of-range", "ROW_RANGE", rows=[0, 1, 2, 3, 4, 6])
    bad("row-negative", "ROW_RANGE", rows=[-1, 1, 2, 3, 4, 5])
    bad("row-twice", "ROW_DUPLICATE", rows=[0, 1, 2, 3, 4, 2])
    bad("row-missing", "ROW_MISSING", rows=[0, 1, 2, 4, 5], values=A[[0, 1, 2, 4, 5]])
    bad("row-missing-at-the-end", "ROW_MISSING", rows=ROWS[:5], values=A[:5])
    bad("no-parts", "ROW_MISSING", files=0)
    bad("group-of-others", "ROW_MISSING", group=1)
    bad("checksum", "CHECKSUM", values=changed(2, [2, 2, 3]))
    bad("checksum-negative-zero", "CHECKSUM", values=changed(1, [-0.0, 5, -1]))
    (HERE / "index.json").write_text(json.dumps(INDEX, indent=1) + "\n", encoding="utf-8")


def make_golden() -> None:
    """Write directories of today's version, each with files that its manifest does not name."""
    for folder in GOLDEN.glob("python-*-files"):
        shutil.rmtree(folder)
    about: dict[str, Any] = {"units": "1", "centring": "none"}
    double = A.astype(np.float64) * np.pi
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "float32": A[None],
        "float64": double,
        "nothing": np.empty((0, 3)),
        "line": A[:, 0],
    }
    path = GOLDEN / "python-matrix-files"
    made = write_matrix(path, [double, -double], dtype="float64", layout={"method": "golden"}, arrays=arrays, **about)
    litter(path, path / "arrays" / "line")
    write_model(GOLDEN / "python-model-files", arrays, {"method": "golden", "learnt_on": []})
    litter(GOLDEN / "python-model-files" / "arrays" / "float32")
    found = dssvd(double, q=0)
    zero = Svd(1, np.zeros(0), np.zeros((3, 0)), np.zeros((4, 0)), 4, 3, 0.0, ("group 1: 0 of the 3 components.",))
    path = GOLDEN / "python-factors-files"
    write_factors(
        path,
        [Svd(0, found.s, found.v, found.u, 6, 3, found.squared_norm, ()), zero],
        dtype="float64",
        request={"k": None, "p": 15, "q": 0, "seed": 0, "want": ["s", "v", "u"]},
        input_sha256=made.sha256,
        engine="numpy",
        timings_s={},
    )
    litter(path / "s", path / "v", path / "u")


def litter(*folders: Path) -> None:
    """Leave in each folder what a second attempt at its first file, and one that was killed, would."""
    for folder in folders:
        shutil.copy(folder / "part-00000.parquet", folder / "part-00000-again.parquet")
        (folder / "part-00001.parquet").write_text("cut off")


if __name__ == "__main__":
    make_golden()
    make_bad()
