"""Measure how a CT series is read and written, beside pydicom's plain loop and SimpleITK: part of ``make bench``.

Each side runs in a process of its own, on two cores, and does it several times; the first, which warms the file cache
up, does not count.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import page

ROOT = Path(__file__).resolve().parent.parent
CTMAHOUT = Path(sys.executable).with_name("ctmahout")


def with_ctmahout(series: Path, out: Path) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    from ctmahout.dicom import Derivation, read_series, write_series

    derivation = Derivation("Nothing done, by a benchmark.", "bench")
    return (lambda: read_series(series)), (lambda volume: write_series(volume, out, derivation=derivation))


def with_pydicom(series: Path, out: Path) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Nothing is checked, and of what a derived image must say only the identifiers are written."""
    import numpy as np
    import pydicom

    def read() -> Any:
        found = [pydicom.dcmread(file) for file in series.iterdir()]
        found.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
        hu = [ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in found]
        return found, np.stack(hu).astype(np.float32)

    def write(given: Any) -> None:
        found, hu = given
        out.mkdir()
        uid = pydicom.uid.generate_uid()
        for z, ds in enumerate(found):
            stored = np.rint((hu[z] - float(ds.RescaleIntercept)) / float(ds.RescaleSlope))
            ds.PixelData = stored.astype("<i2" if ds.PixelRepresentation else "<u2").tobytes()
            ds.SeriesInstanceUID = uid
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
            ds.save_as(out / f"{z}.dcm")

    return read, write


def with_simpleitk(series: Path, out: Path) -> tuple[Callable[[], Any], None]:
    import SimpleITK

    def read() -> Any:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
        return SimpleITK.GetArrayFromImage(reader.Execute())

    return read, None


SIDES: dict[str, Callable[[Path, Path], tuple[Callable[[], Any], Callable[[Any], Any] | None]]] = {
    "ctmahout": with_ctmahout,
    "pydicom, plain loop": with_pydicom,
    "SimpleITK": with_simpleitk,
}
_PACKAGES = {"ctmahout": "pydicom", "pydicom, plain loop": "pydicom", "SimpleITK": "SimpleITK"}


def one_side(name: str, series: Path, out: Path, runs: int) -> dict[str, Any]:
    """Return seconds of each run, and the peak memory of this process."""
    read, write = SIDES[name](series, out)
    seconds: dict[str, list[float]] = {"read_s": [], "write_s": []}
    for _ in range(runs + 1):
        start = time.perf_counter()
        given = read()
        seconds["read_s"].append(time.perf_counter() - start)
        if write is not None:
            start = time.perf_counter()
            write(given)
            seconds["write_s"].append(time.perf_counter() - start)
            shutil.rmtree(out)
        del given
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    warm = {key: values[1:] for key, values in seconds.items()}
    return {**warm, "peak_mib": peak, "version": version(_PACKAGES[name])}


def measured(name: str, series: Path, runs: int) -> dict[str, Any]:
    bench = ROOT / ".venv-bench" / "bin" / "python"
    python = bench if name == "SimpleITK" and bench.exists() else Path(sys.executable)
    with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as folder:
        command = ["taskset", "-c", "0,1", python, __file__, "--side", name]
        command += ["--series", series, "--out", f"{folder}/out", "--runs", runs]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        return {"side": name, "refused": done.stderr.strip().splitlines()[-1][:60]}
    answer = json.loads(done.stdout.splitlines()[-1])
    medians = {key: median(answer[key]) if answer[key] else None for key in ("read_s", "write_s")}
    return {"side": name, **medians, "runs": answer, "peak_mib": answer["peak_mib"], "version": answer["version"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--series", type=Path, help="this series, instead of a phantom")
    parser.add_argument("--out", type=Path, default=page.DOCS, help="where numbers.md and numbers.json go")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(one_side(options.side, options.series, options.out, options.runs)))
        return
    with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as folder:
        series = options.series
        if series is None:
            size = ["--size", "512", "--slices", str(options.slices)]
            subprocess.run([CTMAHOUT, "phantom", f"{folder}/phantom", *size], check=True)
            series = Path(folder) / "phantom" / "noisy"
        rows = [measured(name, series, options.runs) for name in SIDES]
        print(page.publish(section(rows, len(list(series.iterdir()))), options.out))


def section(rows: list[dict[str, Any]], slices: int) -> page.Section:
    """Return the page's section about DICOM."""
    by_side = {row["side"]: row for row in rows}
    ours, plain, _ = (by_side[name] for name in SIDES)
    for row in rows:
        row["read_ratio"] = _ratio(row, ours, "read_s")
        row["write_ratio"] = _ratio(row, ours, "write_s")
    columns = [
        page.Column("side", ""),
        page.Column("read_s", "read s", ".2f"),
        page.Column("read_ratio", "times ours", ".1f"),
        page.Column("write_s", "write s", ".2f"),
        page.Column("write_ratio", "times ours", ".1f"),
        page.Column("peak_mib", "peak MiB"),
        page.Column("refused", ""),
    ]
    targets = [
        page.Target("a series of 300 slices read", ours.get("read_s"), 2, "below", "s"),
        page.Target("a series of 300 slices written", ours.get("write_s"), 5, "below", "s"),
        page.Target("pydicom's plain loop reads, against it", plain["read_ratio"], 1, "at least", "times"),
    ]
    return page.Section(
        "dicom",
        "DICOM read and written",
        f"{slices} slices of 512 x 512, uncompressed, files in the cache, two cores; medians of several runs. ctmahout "
        "checks every header, and writes all that a derived image must say; the plain loop does neither.",
        columns,
        rows,
        targets,
        versions={"Python": platform.python_version(), **{row["side"]: row.get("version", "-") for row in rows[1:]}},
    )


def _ratio(row: dict[str, Any], ours: dict[str, Any], key: str) -> float | None:
    return row[key] / ours[key] if row.get(key) and ours.get(key) else None


if __name__ == "__main__":
    main()
