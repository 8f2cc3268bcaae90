"""``python -m evidence PART``, with bench on the path: measure one part, or write the page of what is measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import detectability, insertion, noise_and_transfer, repeats, report
from .store import Store

PARTS = {
    "detectability": detectability,
    "insertion": insertion,
    "noise_and_transfer": noise_and_transfer,
    "repeats": repeats,
    "page": report,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/evidence"), help="where results are kept")
    parts = parser.add_subparsers(dest="part", required=True)
    for name, module in PARTS.items():
        module.options(parts.add_parser(name, description=module.__doc__))
    options = parser.parse_args()
    PARTS[options.part].measure(Store(options.work), options)


if __name__ == "__main__":
    main()
