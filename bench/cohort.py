"""Measure what a model learnt on other scans is worth: part of ``make bench``.

A model is learnt on the noisy series of some simulated scans, as DICOM, and applied to another one, whose noise-free
twin is known. Scans and scores are those of ``quality.py``: phantoms, or with ``--volumes`` folders, of which the last
one is denoised and all others are learnt on.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import page
import quality
from page import Column, Section, Target
from quality import Scan

from ctmahout import Config, Volume, denoise_volume, learn
from ctmahout.phantom.dicom import write_synthetic

# What is wanted of a model of phantoms 1 and 2 on phantom 3, at 10 %.
PSNR_DB, LEARN_S, DOSE, GROUPS = 45.0, 300.0, 10.0, 1000

_SCORES = [column for column in quality.COLUMNS if column.key not in ("method", "refused")]
COLUMNS = [*_SCORES[:2], Column("groups", "groups", "d"), Column("learn_s", "s to learn", ".0f"), *_SCORES[2:]]


def written(scan: Scan, folder: Path) -> Path:
    """Write the noisy scan as a DICOM series of its own in a folder."""
    out = folder / scan.name
    write_synthetic(scan.noisy, out, description=scan.name, key=scan.name, study_key=scan.name, series_number=1)
    return out


def denoised(model: Path) -> quality.Method:
    """Return the method that a model is."""

    def denoise(volume: Volume) -> Volume:
        return denoise_volume(volume, model=str(model)).volume

    return denoise


def measured(series: list[Path], scan: Scan, model: Path, config: Config) -> dict[str, Any]:
    """Learn on series, denoise the scan, and return the row of it."""
    start = time.perf_counter()
    learn(series, model, config)
    learn_s = time.perf_counter() - start
    row = quality.measured(scan, "patches model", denoised(model), quality.CROP)
    return row | {"groups": config.groups, "learn_s": learn_s}


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=Path, nargs="+", help="folders with scans, instead of phantoms 1 to 3")
    parser.add_argument("--groups", type=int, nargs="+", default=[200, GROUPS])
    given = parser.parse_args()
    found = quality.volumes(given.volumes, [DOSE]) if given.volumes else quality.phantoms([1, 2, 3], [DOSE])
    scans, crop = list(found), quality.CROP
    with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as temporary:
        folder = Path(temporary)
        series = [written(scan, folder) for scan in scans[:-1]]
        rows = [measured(series, scans[-1], folder / f"model-{n}", Config(groups=n)) for n in given.groups]
    names = ", ".join(scan.name for scan in scans[:-1])
    targets = []
    if [scan.seed for scan in scans] == [1, 2, 3] and rows[-1]["groups"] == GROUPS:
        targets = [
            Target(f"{GROUPS:,} groups: PSNR", rows[-1].get("psnr_db"), PSNR_DB, "at least", " dB"),
            Target(f"{GROUPS:,} groups: learning", rows[-1]["learn_s"], LEARN_S, "below", " s"),
        ]
    text = (
        f"A model learnt on the noisy series of {names}, read from DICOM, and applied to another scan, without "
        f"Spark; scored over slices {crop.start}:{crop.stop} as above. Learning is from folders to model, with a JVM "
        "of its own."
    )
    versions = {"Python": platform.python_version(), "numpy": np.__version__}
    print(page.publish(Section("cohort", "Models of other scans", text, COLUMNS, rows, targets, versions)))


if __name__ == "__main__":
    main()
