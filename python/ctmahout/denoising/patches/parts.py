"""Samples in parts: in memory, and in files that another process can read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .em import Part, Sample
from .mixture import Noise

__all__ = ["FilePart", "parts_of", "write_part"]

_PART = 50_000  # patches that are learnt from at a time; part of the answer, for sums are in their order


@dataclass(frozen=True, eq=False)
class _MemoryPart:
    """A part in this process's memory."""

    sample: Sample

    def __len__(self) -> int:
        return len(self.sample.patches)

    def load(self) -> Sample:
        return self.sample


@dataclass(frozen=True)
class FilePart:
    """A part in a file of numpy's own format, on storage that all workers see.

    Attributes
    ----------
    path : Path
    count : int
        Its patches.
    classes : tuple of int, optional
        The class that its noise of class 0, 1, ... is of, among those of all series.
    """

    path: Path
    count: int
    classes: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return self.count

    def load(self) -> Sample:
        with np.load(self.path) as a:
            noise_class = a["kind"] if self.classes is None else np.array(self.classes, np.int32)[a["kind"]]
            noise = Noise(a["level"], noise_class)
            return Sample(a["patches"], noise, a.get("pilot"))


def parts_of(sample: Sample) -> tuple[Part, ...]:
    """Return a sample as parts in memory."""
    return tuple(_MemoryPart(sample[start : start + _PART]) for start in range(0, len(sample.patches), _PART))


def write_part(sample: Sample, path: Path) -> FilePart:
    """Write a sample to a file."""
    arrays: dict[str, Any] = {
        "patches": sample.patches,
        "level": sample.noise.sigma_hu,
        "kind": sample.noise.noise_class,
    }
    if sample.pilot is not None:
        arrays["pilot"] = sample.pilot
    np.savez(path, **arrays)
    return FilePart(path, len(sample.patches))
