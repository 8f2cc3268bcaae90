"""The documentation site: `make docs`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ctmahout import __version__

project = "ctmahout"
copyright = "the ctmahout contributors"
version = release = __version__
html_title = f"ctmahout {release}"
html_theme = "furo"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["adr/README.md"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings say more: shapes, dtypes and units
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = "code"

_DOCS = Path(__file__).parent
_ROOT = _DOCS.parent
# Files of the repository that are pages of the site, too; each page begins with its file.
_PAGES = {
    "index": "README.md",
    "architecture": "ARCHITECTURE.md",
    "changelog": "CHANGELOG.md",
    "contract": "contract/v1/README.md",
    "decisions": "docs/adr/README.md",
    "image": "docker/README.md",
}
_PAGE_OF = {file: page for page, file in _PAGES.items()} | {"docs/adr": "decisions"}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
_IMAGE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)\s]+)\)")


def setup(app: Any) -> None:
    app.connect("source-read", _read)


def _read(app: Any, page: str, source: list[str]) -> None:
    """Put the file of the repository before its page, and turn links between files into links between pages."""
    file = _ROOT / _PAGES[page] if page in _PAGES else _DOCS / f"{page}.md"
    text = _for_site(file.read_text(encoding="utf-8"), file.parent, (_DOCS / page).parent)
    source[0] = text + "\n" + source[0] if page in _PAGES else text


def _for_site(text: str, folder: Path, page_folder: Path) -> str:
    def link(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        path = (folder / target).resolve()
        if not path.exists():
            raise FileNotFoundError(f"{folder}: link to {target}, which is not there")
        name = path.relative_to(_ROOT).as_posix()
        if name in _PAGE_OF:
            path = _DOCS / f"{_PAGE_OF[name]}.md"
        if path.suffix == ".md" and path.is_relative_to(_DOCS):
            return f"[{words}]({os.path.relpath(path, page_folder)}{anchor})"
        return f"{words} (`{name}`)" if words != name else f"`{name}`"

    def image(match: re.Match[str]) -> str:
        return f"![{match[1]}]({os.path.relpath((folder / match[2]).resolve(), page_folder)})"

    return _IMAGE.sub(image, _LINK.sub(link, text))
