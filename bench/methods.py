"""What is measured: our method, in this process, and the same of another checkout."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ctmahout import Volume, denoise_volume

__all__ = ["before", "ours"]

_SCRIPT = (
    "import pickle, sys; from quality import ours; a, b, effort = sys.argv[1:]; v = pickle.load(open(a, 'rb')); "
    "pickle.dump(ours(method='patches', effort=effort, engine='numpy', algorithm='exact')(v).hu, open(b, 'wb'))"
)


def ours(*, strengths: Sequence[str] = ("auto",), **options: Any) -> Callable[[Volume], list[Volume]]:
    """Return our method: `denoise_volume`, a volume for each strength."""

    def denoise(volume: Volume) -> list[Volume]:
        return [result.volume for result in denoise_volume(volume, strengths, **options)]

    return denoise


def before(checkout: Path, effort: str) -> Callable[[Volume], Volume]:
    """Return the method of another checkout of the project, at full strength."""

    def denoise(volume: Volume) -> Volume:
        with tempfile.TemporaryDirectory(prefix="ctmahout-bench-") as folder:
            given, found = Path(folder, "given"), Path(folder, "found")
            bare = Volume(volume.hu, volume.geometry, volume.padding)
            given.write_bytes(pickle.dumps(bare))
            path = os.pathsep.join(str(checkout / part) for part in ("python", "bench"))
            command = [sys.executable, "-c", _SCRIPT, str(given), str(found), effort]
            subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path}, cwd=folder)
            return volume.with_hu(pickle.loads(found.read_bytes()))

    return denoise
