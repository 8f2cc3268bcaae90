"""The error from two scans, as ``ctmahout repeat`` estimates it, beside the known one, for each method."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from ctmahout.quality import repeat_errors, tissues

from .denoisers import BLUR, METHODS, MODEL, add_options, chosen, denoiser
from .scans import LIVER, Object
from .store import Store

__all__ = ["DOSES", "measure", "summary"]

DOSES = (100, 25)  # percent
_NAMES = tuple(name for name in METHODS if name not in (BLUR, MODEL))


def measure(store: Store, options: argparse.Namespace) -> None:
    """Measure each dose and method; what is kept is not measured again."""
    store = store / "repeats"
    units = [(dose, name) for dose in options.doses for name in chosen(options)]
    missing = [(dose, name) for dose, name in units if not store.has(f"{dose}/{name}")]
    if not missing:
        return
    body = Object(LIVER, 3)
    masks = {name: tissues(body.clean)[name] for name in ("body", "soft")}
    for dose, name in missing:
        scans = body.scan(dose / 100, [dose, 0, 13]), body.scan(dose / 100, [dose, 1, 13])
        denoise = denoiser(name, model=store.folder / "model", field=LIVER, python=options.bm4d)
        results = [denoise(body.volume(hu)) for hu in scans]
        store.keep(f"{dose}/{name}", compared(scans, results, body.clean, masks))


def compared(scans: Any, results: list[Any], clean: Any, masks: dict[str, Any]) -> dict[str, Any]:
    """Return the estimated errors of results by tissue, and `true_hu`, the known ones."""
    errors = repeat_errors(scans, results, masks)
    row: dict[str, Any] = {}
    for tissue, error in errors.items():
        if error is not None:
            squares = [np.mean((hu - clean)[masks[tissue]].astype(np.float64) ** 2) for hu in results]
            row[tissue] = {**error.as_dict(), "true_hu": float(np.sqrt(np.mean(squares)))}
    return row


def summary(store: Store) -> list[dict[str, Any]]:
    """Return a row for each dose and method."""
    return (store / "repeats").rows(DOSES, _NAMES)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    add_options(parser, DOSES, _NAMES)
