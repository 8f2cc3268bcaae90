"""Prints the last line of `make test`: how many tests were skipped, why, and what brings them."""

import json
import sys
from collections import Counter
from pathlib import Path


def summary(reasons: list[str]) -> str:
    """Return the line for the reasons of all skipped tests."""
    if not reasons:
        return "No test was skipped."
    why = "; ".join(f"{n} because of: {reason}" for reason, n in Counter(reasons).most_common())
    return (
        f"{len(reasons)} tests were skipped: {why}. To run them: "
        "xargs sudo apt-get install -y < tests/debian-packages.txt && CTMAHOUT_TEST_DATA=FOLDER_OF_CT make test"
    )


def main(file: str) -> None:
    lines = Path(file).read_text(encoding="utf-8").splitlines() if Path(file).exists() else []
    sys.stdout.write(summary([json.loads(line) for line in lines]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
