"""A memory limit as containers have it: a control group of the kernel, page cache included.

Works with both versions of control groups, where this process may make one: as root, or in a delegated subtree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Group", "LimitError", "limited"]


class LimitError(OSError):
    """No limit can be set here."""


@dataclass(frozen=True)
class Group:
    """A control group with a limit on memory."""

    path: Path

    def enter(self) -> None:
        """Move this process into it, and with it all that it starts: for a child between fork and exec."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def peak_bytes(self) -> int:
        """Return the most memory that all its processes had together, with the files in the kernel's cache."""
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            with suppress(OSError):
                return int((self.path / name).read_text())
        return 0


@contextmanager
def limited(limit_bytes: int) -> Iterator[Group]:
    """Give a control group with so much memory, and remove it in the end.

    Raises
    ------
    LimitError
        The kernel does not allow it.
    """
    path, limits = _place()
    path = path / f"ctmahout-bench-{os.getpid()}-{time.monotonic_ns()}"
    try:
        path.mkdir()
        try:
            (path / limits[0]).write_text(str(limit_bytes))
            for swap in limits[1:]:  # there only where the kernel counts swap
                if (path / swap).exists():
                    (path / swap).write_text("0" if swap == "memory.swap.max" else str(limit_bytes))
        except OSError:
            path.rmdir()
            raise
    except OSError as e:
        raise LimitError(f"no control group with a memory limit can be made here: {e}") from e
    try:
        yield Group(path)
    finally:
        for _ in range(50):  # a group is busy until the kernel has buried its last process
            with suppress(OSError):
                path.rmdir()
                break
            time.sleep(0.1)


def _place() -> tuple[Path, tuple[str, ...]]:
    """Return where a group can be made, and the names of its limits: of memory, and of memory with swap."""
    own = dict(_memberships())
    if "memory" in own:
        root = Path("/sys/fs/cgroup/memory")
        path = root / own["memory"].lstrip("/")
        # In a container the path may be the host's, of which only the root is visible.
        return (path if path.is_dir() else root), ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    root = Path("/sys/fs/cgroup")
    # A group with processes of its own cannot pass its controllers on, so the new one stands beside it.
    path = (root / own.get("", "/").lstrip("/")).parent if own.get("", "/") != "/" else root
    return (path if path.is_dir() else root), ("memory.max", "memory.swap.max")


def _memberships() -> Iterator[tuple[str, str]]:
    """Yield controller and path of the groups that this process is in; no controller for version 2."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path
