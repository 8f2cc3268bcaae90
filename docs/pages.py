"""Writes the pages that are made from the code: `cli.md` from `--help`, `errors.md` from the catalogue."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ctmahout.cli.verbs import ctmahout

HERE = Path(__file__).parent
CLASSES = {
    1: "defect",
    2: "usage",
    3: "input",
    4: "exchange",
    5: "engine",
    6: "output",
    130: "interrupted",
}


def cli() -> str:
    """The help of every verb."""
    page = ["# Command line\n"]
    for name, command in sorted(ctmahout.commands.items()):
        context = click.Context(command, info_name=f"ctmahout {name}", terminal_width=100, max_content_width=100)
        page.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(page)


def errors() -> str:
    """Every error with its remedy, by exit code."""
    catalogue = json.loads((HERE.parent / "contract" / "v1" / "errors.json").read_text(encoding="utf-8"))
    page = ["# Errors\n\nEvery error has a code, which stays, and a remedy. In braces is what it fills in.\n"]
    for exit_code, name in CLASSES.items():
        page.append(f"## Exit code {exit_code}: {name}\n")
        for code, entry in catalogue.items():
            if isinstance(entry, dict) and entry.get("exit") == exit_code:
                page.append(f"### {code}\n\n{_plain(entry['message'])}\n\n*{_plain(entry['hint'])}*\n")
    return "\n".join(page)


def _plain(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


if __name__ == "__main__":
    (HERE / "cli.md").write_text(cli(), encoding="utf-8")
    (HERE / "errors.md").write_text(errors(), encoding="utf-8")
