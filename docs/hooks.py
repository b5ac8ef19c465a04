"""Hook of MkDocs: fill pages from what the repository says already, so that nothing has to be written twice."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from phonemi.config.reference import as_markdown, reference

ROOT = Path(__file__).parents[1]


def from_root(name: str) -> str:
    """A Markdown file of the root, with its links to pages of docs/ made relative to docs/."""
    return re.sub(r"\]\(docs/", "](", (ROOT / name).read_text(encoding="utf-8"))


SOURCES: dict[str, Callable[[], str]] = {
    "<!-- README -->": lambda: from_root("README.md"),
    "<!-- CONTRIBUTING -->": lambda: from_root("CONTRIBUTING.md"),
    "<!-- settings -->": lambda: as_markdown(reference()),
}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace each marker of a page by the text that it stands for."""
    for marker, text in SOURCES.items():
        if marker in markdown:
            markdown = markdown.replace(marker, text())
    return markdown
