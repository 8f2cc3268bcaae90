"""Completes the metadata of wheel and sdist: the addresses, and README.md as the index of packages can show it.

hatchling calls it; pyproject.toml gives it the address of the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# A link or an image in Markdown whose target is a file of the repository.
_RELATIVE = re.compile(r"(?P<image>!?)\[(?P<words>[^\]]*)\]\((?!https?:|#|mailto:)(?P<target>[^)\s]+)\)")


class Metadata(MetadataHookInterface):  # type: ignore[misc]
    """Sets ``readme`` and ``urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        source, version = self.config["source"], metadata["version"]
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute_links(text, source, version)}
        metadata["urls"] = {
            "Source": source,
            "Documentation": f"{source}/tree/v{version}/docs",
            "Changelog": f"{source}/blob/v{version}/CHANGELOG.md",
            "Issues": f"{source}/issues",
        }


def absolute_links(text: str, source: str, version: str) -> str:
    """Return Markdown whose links to files lead into the repository, at the tag of the version."""

    def absolute(match: re.Match[str]) -> str:
        kind = "raw" if match["image"] else "blob"
        return f"{match['image']}[{match['words']}]({source}/{kind}/v{version}/{match['target']})"

    return _RELATIVE.sub(absolute, text)
