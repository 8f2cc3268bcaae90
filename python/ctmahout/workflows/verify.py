"""Compare a run with what is expected of it: ``ctmahout verify``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files.arrays import is_array
from ..files.read_volume import read_volume
from ..options import Config
from ..storage import Location, Uri, local_copy, parse_location
from ..storage.atomic import atomic_file
from .outcome import RUN

__all__ = ["TOLERANCES", "Check", "Verification", "verify", "write_expectation"]

_VERSION = 1
_BLOCKS = 8  # along rows and along columns of a slice
# The options that decide about the values; the others say where the work was done and how it was written.
_OPTIONS = ("method", "effort", "algorithm", "k", "p", "q", "seed", "refit", "split", "lenient")

_TITLES = {"mean_hu": "mean of {}, HU", "noise_sd_hu": "noise SD in {}, HU", "edge_width_mm": "width of {} edges, mm"}


@dataclass(frozen=True)
class Tolerance:
    """How far a value may be from the expected one: by `absolute`, or by `relative` of it, whichever is more."""

    absolute: float = 0.0
    relative: float = 0.0

    def of(self, expected: float) -> float:
        """Return the difference that is tolerated."""
        return max(self.absolute, self.relative * abs(expected))


TOLERANCES = {
    # A tenth of what a reader of the report is warned about; seeds shift means by 0.02 HU.
    "mean_hu": Tolerance(absolute=0.2),
    # Seeds change it by up to 4 % where a small phantom has few flat regions.
    "noise_sd_hu": Tolerance(absolute=0.05, relative=0.05),
    # Seeds change it by 0.05 %, the next kernel of a scanner by 10 % and more.
    "edge_width_mm": Tolerance(relative=0.02),
    # Over a whole slice, noise and anatomy together; seeds change it by 0.01 %.
    "slice_sd_hu": Tolerance(absolute=0.1, relative=0.001),
    # Seeds change the worst of a small phantom by 0.6 HU; a lost detail of 100 HU and 1 % of the block's area by 1 HU.
    "block_mean_hu": Tolerance(absolute=0.9),
}
"""What is tolerated, by measure: above what another seed changes, below what matters (docs/reproduce.md)."""


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes
    ----------
    measure : str
        What was compared, for people: "auto: noise SD in soft".
    actual, expected : float or str or None
        HU or mm; None where the tissue is absent.
    tolerance : float or None
        The difference that is tolerated; None where the two must be equal.
    ok : bool
    """

    measure: str
    actual: float | str | None
    expected: float | str | None
    tolerance: float | None
    ok: bool


@dataclass(frozen=True)
class Verification:
    """How a run compares with an expectation.

    Attributes
    ----------
    verdict : str
        identical: all voxels have the expected value, rounded to 1 HU. equivalent: some do not, and all measures are
        within their tolerance. different: a measure is not.
    expectation : str
        Where the expectation comes from.
    checks : tuple of Check
    notes : tuple of str
        What differs without a verdict of its own: options, version, source.
    changed_slices, slices : int
        Slices with a voxel of another value, and all slices.
    """

    verdict: str
    expectation: str
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    changed_slices: int
    slices: int

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.ok)

    @property
    def summary(self) -> str:
        """The verdict as a sentence."""
        return {
            "identical": f"Reproduced: all {self.slices} slices have the expected values.",
            "equivalent": f"Reproduced within the tolerances; {self.changed_slices} of {self.slices} slices have "
            "voxels with other values.",
            "different": f"Not reproduced: {len(self.failures)} of {len(self.checks)} checks failed.",
        }[self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        return {
            "verdict": self.verdict,
            "expectation": self.expectation,
            "changed_slices": self.changed_slices,
            "slices": self.slices,
            "notes": list(self.notes),
            "checks": [vars(check) for check in self.checks],
        }


def verify(
    run: str | Path | Uri, expected: str | Path | Uri | None = None, *, workers: int | None = None
) -> Verification:
    """Compare a run with an expectation.

    Parameters
    ----------
    run : path or URI
        The output folder of `denoise` or `reconstruct`.
    expected : path or URI, optional
        A file of `write_expectation`, or the folder of another run. By default the expectation that ctmahout has for
        this source.
    workers : int, optional
        Threads to read with.

    Returns
    -------
    Verification

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_RUN_INVALID, CTM_EXPECTATION_INVALID, CTM_EXPECTATION_UNKNOWN, and those of
        `read_series`.

    Examples
    --------
    >>> from ctmahout import denoise
    >>> for out in ("once", "again"):
    ...     _ = denoise("phantom/noisy", out, method="slices", engine="numpy")
    >>> verify("again", "once").verdict
    'identical'
    """
    run = parse_location(run)
    actual = _describe(run, workers)
    if expected is None:
        name, wanted = _known(run, actual)
    else:
        place = parse_location(expected)
        name, wanted = str(place), _load(place, workers)
    return _compare(actual, wanted, name)


def write_expectation(
    run: str | Path | Uri, path: str | Path, *, about: str = "", overwrite: bool = False, workers: int | None = None
) -> dict[str, Any]:
    """Write what a run gives to a JSON file, for `verify` to compare later runs with.

    Parameters
    ----------
    run : path or URI
        The output folder of `denoise` or `reconstruct`.
    path : path
        The file.
    about : str, optional
        Which data these are, where they come from, their licence.
    overwrite : bool, optional
        Replace the file.
    workers : int, optional
        Threads to read with.

    Returns
    -------
    dict
        What was written.

    Raises
    ------
    InputError
        CTM_INPUT_NOT_FOUND, CTM_RUN_INVALID, and those of `read_series`.
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.

    Examples
    --------
    >>> from ctmahout import denoise
    >>> _ = denoise("phantom/noisy", "run", method="slices", engine="numpy")
    >>> written = write_expectation("run", "expected.json", about="The phantom of 96 pixels.")
    >>> written["about"]
    'The phantom of 96 pixels.'
    """
    expectation = {
        "kind": "expectation",
        "version": _VERSION,
        "about": about,
        **_describe(parse_location(run), workers),
    }
    text = json.dumps(expectation, indent=1, allow_nan=False)
    # Each list of numbers on one line: 64 lines for a slice would be unreadable.
    text = re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", text)
    with atomic_file(Path(path), overwrite=overwrite, is_replaceable=_is_expectation) as target:
        target.write_text(text + "\n", encoding="utf-8")
    return expectation


def _is_expectation(file: Path) -> bool:
    try:
        return bool(json.loads(file.read_text(encoding="utf-8"))["kind"] == "expectation")
    except (OSError, ValueError, KeyError, TypeError):
        return False


# ------------------------------------------------------------------------------------------------------- description


def _describe(place: Location, workers: int | None) -> dict[str, Any]:
    """Return what a run gives: source, options and measures from run.json, slices from the series themselves."""
    with local_copy(place) as folder:
        run = _manifest(place, folder)
        try:
            config = Config(lenient=run["config"]["lenient"], workers=workers)
            numbers = run["numbers"]
            series = {
                s["strength"]: {
                    **_measures(numbers["after"][s["strength"]]),
                    "slices": list(_slices(_series(folder / s["folder"], config))),
                }
                for s in run["series"]
            }
            return {
                "ctmahout": run["ctmahout"],
                "source": run["source"],
                "options": {name: run["config"][name] for name in _OPTIONS},
                "origin": _origin(run),
                "before": _measures(numbers["before"]),
                "series": series,
            }
        except (KeyError, TypeError, AttributeError) as e:
            problem = f"its {RUN} is incomplete ({type(e).__name__}: {e})"
            raise InputError("CTM_RUN_INVALID", path=place, problem=problem) from e


def _manifest(place: Location, folder: Path) -> dict[str, Any]:
    if not folder.exists():
        raise InputError("CTM_INPUT_NOT_FOUND", path=place)
    try:
        run: dict[str, Any] = json.loads((folder / RUN).read_text(encoding="utf-8"))
        problem = "" if run["kind"] == "run" else f"its {RUN} is of kind {run['kind']}"
    except OSError:
        problem = f"it has no {RUN}"
    except (ValueError, KeyError, TypeError):
        problem = f"its {RUN} is damaged"
    if problem:
        raise InputError("CTM_RUN_INVALID", path=place, problem=problem)
    return run


def _origin(run: Mapping[str, Any]) -> str:
    """Return what decomposed: every engine that calls Mahout gives the same values, NumPy's may differ in rounding."""
    if "model" in run:
        return f"model {run['model']['sha256']}"
    return "mahout" if "mahout" in run["factors"]["writer"] else "numpy"


def _measures(numbers: Mapping[str, Any]) -> dict[str, Any]:
    measures = {name: dict(numbers[name]) for name in ("mean_hu", "noise_sd_hu")}
    if "edge_width_mm" in numbers:
        measures["edge_width_mm"] = {"strong": numbers["edge_width_mm"]["after"]["strong"]}
    return measures


def _series(folder: Path, config: Config) -> NDArray[np.float32]:
    arrays = [file for file in sorted(folder.glob("*")) if is_array(file)]
    return read_volume(arrays[0] if arrays else folder, config).hu


def _slices(hu: NDArray[np.float32]) -> Iterator[dict[str, Any]]:
    """Yield of each slice of shape (y, x) its fingerprint, its SD and the means of its blocks, HU."""
    for image in hu:
        # Rounded: where HU are stored with a fraction, the last bits differ between processors.
        values = np.rint(image).astype("<i4")
        digest = hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()
        means = _block_means(values)
        yield {"sha256": digest[:16], "sd_hu": round(float(values.std()), 2), "blocks_hu": np.round(means, 1).tolist()}


def _block_means(values: NDArray[np.int32]) -> NDArray[np.float64]:
    edges = [np.linspace(0, n, min(n, _BLOCKS) + 1).astype(np.intp) for n in values.shape]
    sums = np.add.reduceat(np.add.reduceat(values.astype(np.float64), edges[0][:-1], axis=0), edges[1][:-1], axis=1)
    means: NDArray[np.float64] = sums / np.outer(*map(np.diff, edges))
    return means


# ------------------------------------------------------------------------------------------------------ expectations


def _known(place: Location, actual: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the expectation for the source of a run, by its fingerprint."""
    abouts = []
    for file in sorted((files("ctmahout") / "expected").iterdir(), key=lambda file: file.name):
        expectation: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if expectation["source"]["sha256"] == actual["source"]["sha256"]:
            return file.name, expectation
        abouts.append(file.name.removesuffix(".json"))
    raise InputError("CTM_EXPECTATION_UNKNOWN", path=place, known=", ".join(abouts))


def _load(place: Location, workers: int | None) -> dict[str, Any]:
    with local_copy(place) as path:
        if path.is_dir():
            return _describe(path, workers)
        if not path.exists():
            raise InputError("CTM_INPUT_NOT_FOUND", path=place)
        try:
            expectation: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            problem = ""
            if expectation["kind"] != "expectation":
                problem = f"it is of kind {expectation['kind']}"
            elif expectation["version"] != _VERSION:
                problem = f"it has version {expectation['version']}, and this ctmahout reads version {_VERSION}"
        except (OSError, ValueError, KeyError, TypeError):
            problem = "it is no JSON file of this form"
    if problem:
        raise InputError("CTM_EXPECTATION_INVALID", path=place, problem=problem)
    return expectation


# -------------------------------------------------------------------------------------------------------- comparison


def _compare(actual: Mapping[str, Any], expected: Mapping[str, Any], name: str) -> Verification:
    checks: list[Check] = []
    changed = total = 0
    try:
        shapes = [" x ".join(map(str, d["source"]["shape"])) for d in (actual, expected)]
        checks.append(_equal("shape of the source", *shapes))
        checks += _compare_measures("source", actual["before"], expected["before"])
        for strength, wanted in expected["series"].items():
            series = actual["series"].get(strength)
            if series is None:
                checks.append(_equal("strength", ", ".join(actual["series"]), strength))
                continue
            checks += _compare_measures(strength, series, wanted)
            checks += _compare_slices(strength, series["slices"], wanted["slices"])
            total += len(wanted["slices"])
            changed += sum(a["sha256"] != b["sha256"] for a, b in zip(series["slices"], wanted["slices"], strict=False))
        notes = tuple(_notes(actual, expected))
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        problem = f"it is incomplete ({type(e).__name__}: {e})"
        raise InputError("CTM_EXPECTATION_INVALID", path=name, problem=problem) from e
    ok = all(check.ok for check in checks)
    verdict = "different" if not ok else "equivalent" if changed else "identical"
    return Verification(verdict, name, tuple(checks), notes, changed, total)


def _equal(measure: str, actual: str, expected: str) -> Check:
    return Check(measure, actual, expected, None, actual == expected)


def _compare_measures(prefix: str, actual: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[Check]:
    for name, title in _TITLES.items():
        for where, wanted in expected.get(name, {}).items():
            value = actual[name][where]
            if value is None and wanted is None:
                continue
            tolerance = TOLERANCES[name].of(wanted or 0.0)
            ok = value is not None and wanted is not None and abs(value - wanted) <= tolerance
            yield Check(f"{prefix}: {title.format(where)}", value, wanted, tolerance, ok)


def _compare_slices(
    prefix: str, actual: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]
) -> Iterator[Check]:
    """Yield the checks of the slices: their order, and the slice and the block that differ most."""
    if len(actual) != len(expected):
        yield _equal(f"{prefix}: slices", str(len(actual)), str(len(expected)))
        return
    indices = {s["sha256"]: z for z, s in enumerate(expected)}
    # Only if all slices differ from each other: several may hold nothing but air.
    if len(indices) == len(expected):
        order = [indices.get(s["sha256"], z) for z, s in enumerate(actual)]
        moved = ", ".join(f"{z + 1} is {index + 1}" for z, index in enumerate(order) if index != z)
        yield Check(f"{prefix}: order of the slices", moved or "as expected", "as expected", None, not moved)
    sds = [np.array([s["sd_hu"] for s in slices]) for slices in (actual, expected)]
    limits = [TOLERANCES["slice_sd_hu"].of(sd) for sd in sds[1]]
    z = int(np.argmax(np.abs(sds[0] - sds[1]) / limits))
    yield _closest(f"{prefix}: SD of slice {z + 1}, HU", "slice_sd_hu", sds[0][z], sds[1][z])
    blocks = [np.array([s["blocks_hu"] for s in slices]) for slices in (actual, expected)]
    z, y, x = map(int, np.unravel_index(int(np.argmax(np.abs(blocks[0] - blocks[1]))), blocks[1].shape))
    # Over everything: a shift of all values is smaller than what a single block may differ by.
    yield _closest(f"{prefix}: mean of all blocks, HU", "mean_hu", blocks[0].mean(), blocks[1].mean())
    where = f"{prefix}: mean of block {y + 1}, {x + 1} in slice {z + 1}, HU"
    yield _closest(where, "block_mean_hu", blocks[0][z, y, x], blocks[1][z, y, x])


def _closest(measure: str, name: str, actual: float, expected: float) -> Check:
    tolerance = TOLERANCES[name].of(float(expected))
    return Check(measure, float(actual), float(expected), tolerance, bool(abs(actual - expected) <= tolerance))


def _notes(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    if actual["source"]["sha256"] != expected["source"]["sha256"]:
        yield "The source is not the expected one: its fingerprint differs."
    pairs = {"ctmahout": (actual["ctmahout"], expected["ctmahout"]), "maths": (actual["origin"], expected["origin"])}
    pairs |= {name: (actual["options"][name], wanted) for name, wanted in expected["options"].items()}
    for name, (value, wanted) in pairs.items():
        if value != wanted:
            yield f"{name} is {value}, expected {wanted}."
