"""Samples in parts: in memory, and in files that another process can read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .em import Part, Sample
from .mixture import Noise

__all__ = ["FilePart", "parts_of", "write_parts"]

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
    noise_class : int, optional
        The noise_class that its noise is of, instead of those in the file.
    """

    path: Path
    noise_class: int | None = None

    def __len__(self) -> int:
        with np.load(self.path) as a:
            return len(a["level"])

    def load(self) -> Sample:
        with np.load(self.path) as a:
            noise_class = a["kind"] if self.noise_class is None else np.full_like(a["kind"], self.noise_class)
            noise = Noise(a["level"], noise_class)
            return Sample(a["patches"], noise, a.get("pilot"))


def parts_of(sample: Sample) -> tuple[Part, ...]:
    """Return a sample as parts in memory."""
    return tuple(_MemoryPart(sample[start : start + _PART]) for start in range(0, len(sample.patches), _PART))


def write_parts(sample: Sample, stem: Path) -> tuple[FilePart, ...]:
    """Write a sample to files ``<stem>-0.npz`` and so on."""
    parts = []
    for number, part in enumerate(parts_of(sample)):
        sample_part = part.load()
        path = stem.with_name(f"{stem.name}-{number}.npz")
        arrays: dict[str, Any] = {
            "patches": sample_part.patches,
            "level": sample_part.noise.sigma_hu,
            "kind": sample_part.noise.noise_class,
        }
        if sample_part.pilot is not None:
            arrays["pilot"] = sample_part.pilot
        np.savez(path, **arrays)
        parts.append(FilePart(path))
    return tuple(parts)
