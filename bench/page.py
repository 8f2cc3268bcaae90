"""docs/numbers.json, which every measurement adds to, and the page that is made of it, docs/numbers.md."""

from __future__ import annotations

import json
import math
import os
import platform
import re
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

__all__ = ["DOCS", "Column", "Section", "Target", "publish"]

DOCS = Path(__file__).resolve().parent.parent / "docs"

# In this order they stand on the page, whichever was measured last.
_ORDER = (
    "pipeline",
    "start",
    "node",
    "dicom",
    "quality",
    "cohort",
    "quality-real",
    "anatomy-details",
    "anatomy-map",
    "anatomy-taken",
    "anatomy-means",
    "anatomy-likeness",
    "headline",
    "exact",
    "bridge",
    "large",
    "wide",
    "cores",
    "groups",
    "group-limits",
    "accuracy",
    "dataframes",
)

_HEAD = """# Numbers

Written by `make bench`; run it to get those of your machine. `numbers.json` beside this page has every single run.
"""


@dataclass(frozen=True)
class Column:
    """A column of a table: the key of its values in the rows, its heading, and how numbers are written."""

    key: str
    title: str
    form: str = ""


@dataclass(frozen=True)
class Target:
    """What was wanted and what was measured, None if it could not be."""

    what: str
    figure: float | None
    limit: float
    sense: str = "at most"
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Return whether the target is met, None if it was not measured."""
        if self.figure is None:
            return None
        if math.isnan(self.figure):
            return False
        return {
            "at most": self.figure <= self.limit,
            "below": self.figure < self.limit,
            "at least": self.figure >= self.limit,
        }[self.sense]


@dataclass(frozen=True)
class Section:
    """One table of the page.

    Attributes
    ----------
    name : str
        One of those in the order of the page.
    title, text : str
        Its heading, and what was measured and how.
    columns : list of Column
    rows : list of dict
        Values by the keys of the columns; whatever else is in them, as single runs, is for readers of the JSON.
    targets : list of Target
    versions : dict
        Of what was measured, by name.
    """

    name: str
    title: str
    text: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    targets: list[Target] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the section as JSON has it, with machine and time."""
        targets = [{**asdict(t), "met": t.met} for t in self.targets]
        now = datetime.now(timezone.utc).isoformat(timespec="minutes")
        # The measurement itself is one for each core it uses; with more, others have disturbed it.
        load = round(os.getloadavg()[1], 1)
        return {**asdict(self), "targets": targets, "machine": machine(), "load": load, "measured": now}


def publish(section: Section, folder: Path = DOCS) -> str:
    """Put a section in the place of its last measurement, write both files anew, and return the section's text."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = _published(folder)
    sections[section.name] = _plain(section.to_dict())
    ordered = sorted(sections.values(), key=lambda s: _ORDER.index(s["name"]))
    (folder / "numbers.json").write_text(json.dumps(ordered, indent=1, allow_nan=False) + "\n")
    texts = {s["name"]: markdown(s) for s in ordered}
    (folder / "numbers.md").write_text("\n".join([_HEAD, _summary(ordered), *texts.values()]))
    return texts[section.name]


def rows(name: str, folder: Path = DOCS) -> list[dict[str, Any]]:
    """Return the rows that are published of a section; none, if it was never measured."""
    found: list[dict[str, Any]] = _published(folder).get(name, {"rows": []})["rows"]
    return found


def _published(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the sections in a folder, as JSON has them, by name."""
    file = folder / "numbers.json"
    return {s["name"]: s for s in json.loads(file.read_text())} if file.exists() else {}


def _plain(value: Any) -> Any:
    """Return a value with words for the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def markdown(section: dict[str, Any]) -> str:
    """Return a section, as JSON has it, in Markdown."""
    measured = f"{section['measured'][:10]}, {section['machine']}, load {section['load']}"
    versions = "; ".join(f"{name} {version}" for name, version in section["versions"].items())
    columns = section["columns"]
    lines = [f"## {section['title']}", "", section["text"], ""]
    lines += _table(
        [c["title"] for c in columns],
        [[_cell(row.get(c["key"]), c["form"]) for c in columns] for row in section["rows"]],
    )
    if section["targets"]:
        lines += ["", *_table(["target", "wanted", "measured", "met"], [_target(t) for t in section["targets"]])]
    return "\n".join([*lines, "", f"Measured {measured}" + (f"; {versions}" if versions else "") + ".", ""])


def _summary(sections: list[dict[str, Any]]) -> str:
    """Return how many targets are met, in a sentence."""
    met = [target["met"] for section in sections for target in section["targets"]]
    missed, unknown = met.count(False), met.count(None)
    return f"Of {len(met)} targets {met.count(True)} are met, {missed} are not, and {unknown} could not be measured.\n"


def _target(target: dict[str, Any]) -> list[str]:
    """Return the cells of a target."""
    unit = target["unit"]
    figure = "not measured" if target["figure"] is None else f"{_cell(target['figure'])}{unit}"
    met = {True: "yes", False: "**no**", None: ""}[target["met"]]
    return [target["what"], f"{target['sense']} {_cell(target['limit'])}{unit}", figure, met]


def _table(titles: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (titles, ["---"] * len(titles), *rows)]


def _cell(value: Any, form: str = "") -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("|", "\\|")
    if form:
        return format(value, form)
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}"


def machine() -> str:
    """Return what this machine is, in a few words."""
    model = re.search(r"^model name\s*:\s*(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    cores = len(os.sched_getaffinity(0))
    return f"{model[1] if model else platform.machine()}, {cores} cores, {memory:.0f} GiB"


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
