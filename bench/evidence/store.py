"""Results kept as JSON, one file for each piece of work, so that a killed run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Store"]


class Store:
    """A folder of results, by names with slashes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __truediv__(self, name: str) -> Store:
        return Store(self.folder / name)

    def keep(self, name: str, value: Any) -> None:
        """Keep a result: the whole file or none, whenever the run is killed."""
        file = self.folder / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(value, allow_nan=False))
        partial.replace(file)
        print(self.folder.name, name, flush=True)

    def has(self, name: str) -> bool:
        return (self.folder / f"{name}.json").exists()

    def kept(self, name: str) -> Any:
        """Return a result; KeyError if it is not kept."""
        if not self.has(name):
            raise KeyError(f"{self.folder.name}/{name} is not measured")
        return json.loads((self.folder / f"{name}.json").read_text())

    def rows(self, doses: Sequence[int], methods: Sequence[str]) -> list[dict[str, Any]]:
        """Return the results that are kept of doses and methods, ``DOSE/METHOD``, a row each."""
        units = [(dose, name) for dose in doses for name in methods if self.has(f"{dose}/{name}")]
        return [{"dose": dose, "method": name, **self.kept(f"{dose}/{name}")} for dose, name in units]

    def all(self, name: str) -> list[Any]:
        """Return all results of a folder whose files are numbers, in order."""
        files = sorted((self.folder / name).glob("*.json"), key=lambda file: int(file.stem))
        return [json.loads(file.read_text()) for file in files]
