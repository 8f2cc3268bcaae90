"""``module``: what an orchestrator starts. Its folders, in the environment, in; series that it can send on, out.

mercure calls the folders MERCURE_IN_DIR and MERCURE_OUT_DIR, and has the options in ``task.json``. Runners of MONAI
Application Packages call them HOLOSCAN_INPUT_PATH and HOLOSCAN_OUTPUT_PATH, and have a file at HOLOSCAN_CONFIG_PATH.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..dicom import summarise
from ..errors import ConfigError, OutputError
from ..options import Config, check_keys, option_error
from .outcome import RUN, Progress
from .study import Study, denoise_study

__all__ = ["RESULT", "Task", "denoise_task", "read_task"]

RESULT = "result.json"
"""What the orchestrator is told of the series."""
_TASK = "task.json"
# What an orchestrator decides: which series, and where.
_NOT_IN_TASKS = frozenset({"series", "work", "overwrite"})


@dataclass(frozen=True)
class Task:
    """What an orchestrator asks for.

    Attributes
    ----------
    source, output : Path
        Folders; the output is there.
    config : Config
    """

    source: Path
    output: Path
    config: Config


def read_task(environment: Mapping[str, str]) -> Task:
    """Return the task that the environment describes.

    Parameters
    ----------
    environment : mapping
        MERCURE_IN_DIR and MERCURE_OUT_DIR, or HOLOSCAN_INPUT_PATH and HOLOSCAN_OUTPUT_PATH. Options are those of
        ``CTMAHOUT_<FIELD>``, which override those of the file HOLOSCAN_CONFIG_PATH (TOML), and are overridden by the
        settings in ``task.json``.

    Raises
    ------
    ConfigError
        CTM_CONFIG_FILE, CTM_CONFIG_UNKNOWN_KEY, CTM_CONFIG_VALUE.

    Examples
    --------
    >>> read_task({"MERCURE_IN_DIR": "in", "MERCURE_OUT_DIR": "out", "CTMAHOUT_EFFORT": "fast"}).config.effort
    'fast'
    """
    source = _folder(environment, "MERCURE_IN_DIR", "HOLOSCAN_INPUT_PATH")
    output = _folder(environment, "MERCURE_OUT_DIR", "HOLOSCAN_OUTPUT_PATH")
    file = Path(environment.get("HOLOSCAN_CONFIG_PATH") or "")
    settings = _settings(source / _TASK)
    check_keys(settings, "denoise_study", source=_TASK, without=_NOT_IN_TASKS)
    config = Config.load(file=file if file.is_file() else None, environ=environment, flags=settings)
    return Task(source, output, config)


def denoise_task(task: Task, *, progress: Progress | None = None) -> Study:
    """Denoise the CT series in an orchestrator's input folder into its output folder.

    The output gets the images of all derived series side by side, as ``SERIES#NAME.dcm``, a report for each series, and
    last of all ``result.json``; or nothing, if a series fails.

    Parameters
    ----------
    task : Task
    progress : callable, optional
        See `Progress`.

    Raises
    ------
    CtmahoutError
        As of `denoise_study`; CTM_OUTPUT_UNWRITABLE.

    Examples
    --------
    >>> Path("out").mkdir()
    >>> options = Config(method="slices", engine="numpy", report=False)
    >>> study = denoise_task(Task(Path("phantom/noisy"), Path("out"), options))
    >>> study.series[0].outcome, len(list(Path("out").glob("*#*.dcm"))) == study.series[0].slices
    ('done', True)
    """
    try:
        with tempfile.TemporaryDirectory(dir=task.output, prefix=".ctmahout-") as folder:
            study = denoise_study(task.source, Path(folder) / "study", task.config, progress=progress)
            if not study.failed and (task.config.lenient or not study.unreadable):
                _publish(study, task.output)
    except OSError as e:
        raise OutputError("CTM_OUTPUT_UNWRITABLE", path=task.output, problem=e.strerror or e) from e
    return replace(study, path=task.output)


def _folder(environment: Mapping[str, str], *names: str) -> Path:
    for name in names:
        if value := environment.get(name):
            return Path(value)
    raise option_error(names[0], None, f"a folder, as {' or '.join(names)}", source="environment")


def _settings(task: Path) -> dict[str, Any]:
    """Return the settings of a task of mercure; none if there is no task."""
    if not task.exists():
        return {}
    try:
        values: Any = json.loads(task.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise ConfigError("CTM_CONFIG_FILE", path=task, problem=e) from None
    for key in ("process", "settings"):
        values = values.get(key) or {} if isinstance(values, dict) else values
        if not isinstance(values, dict):
            raise option_error(key, values, "an object", source=_TASK)
    return dict(values)


def _publish(study: Study, output: Path) -> None:
    """Move the images, reports and the result to where the orchestrator looks for them."""
    result = study.as_dict()
    for row in result["series"]:
        folder = Path(str(study.path)) / row["folder"]
        if not folder.is_dir():
            continue
        run = json.loads((folder / RUN).read_text(encoding="utf-8"))
        row |= {"results": run["series"], "warnings": run["warnings"]}
        for part in sorted(path for path in folder.iterdir() if path.is_dir()):
            (derived,) = summarise(part)
            for file in part.iterdir():
                file.rename(output / f"{derived.series_uid}#{file.name}")
        if (report := folder / "report.html").exists():
            report.rename(output / f"{row['folder']}.html")
    (output / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
