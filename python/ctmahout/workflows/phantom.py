"""Simulated scan as DICOM, with and without noise: ``ctmahout phantom``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from .._version import __version__
from ..phantom import make_phantom
from ..phantom.dicom import write_synthetic
from ..storage import Location, Uri, parse_location, upload_on_success
from ..storage.atomic import atomic_dir

__all__ = ["write_phantom"]

# A simulation has no time of acquisition; a fixed one gives the same bytes in every run.
_TIME = datetime(2026, 1, 1)


def write_phantom(
    out: str | Path | Uri,
    *,
    size: int = 256,
    slices: int = 64,
    dose: float = 0.1,
    extent_mm: float | None = None,
    anatomy: str = "chest",
    scanner: str = "standard",
    seed: int = 1,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Location]:
    """Write a simulated CT series and the same without noise.

    Parameters
    ----------
    out : path, str or Uri
        A new folder.
    size, slices, dose, extent_mm, anatomy, scanner, seed, progress
        As for `make_phantom`.
    overwrite : bool
        Replace an earlier phantom.

    Returns
    -------
    dict of str to Path or Uri
        The folders ``noisy`` and ``clean``: two series of one study.

    Raises
    ------
    ConfigError
        CTM_CONFIG_VALUE: no anatomy or scanner has this name.
    OutputError
        CTM_OUTPUT_EXISTS, CTM_OUTPUT_UNWRITABLE.
    """
    out = parse_location(out)
    key = f"{__version__} {size} {slices} {dose} {extent_mm} {seed}"
    if (anatomy, scanner) != ("chest", "standard"):
        key += f" {anatomy} {scanner}"
    with (
        upload_on_success(out, overwrite=overwrite, is_replaceable=_is_phantom) as target,
        atomic_dir(target, overwrite=overwrite, is_replaceable=_is_phantom) as partial,
    ):
        phantom = make_phantom(
            size=size,
            slices=slices,
            dose=dose,
            extent_mm=extent_mm,
            anatomy=anatomy,
            scanner=scanner,
            seed=seed,
            progress=progress,
        )
        for number, (name, volume) in enumerate((("noisy", phantom.noisy), ("clean", phantom.clean)), 1):
            write_synthetic(
                volume,
                partial / name,
                description=f"Phantom, {dose:.3g} of full dose" if name == "noisy" else "Phantom without noise",
                key=f"{key} {name}",
                study_key=key,
                series_number=number,
                software_version=__version__,
                timestamp=_TIME,
                progress=progress,
            )
    return {name: out / name for name in ("noisy", "clean")}


def _is_phantom(folder: Path) -> bool:
    """Return whether a folder is an earlier phantom, which may be replaced."""
    return (folder / "noisy").is_dir() and (folder / "clean").is_dir()
