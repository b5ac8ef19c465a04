"""Hook of MkDocs: fill the page of settings from the schema, so that it never differs from the program."""

from __future__ import annotations

from phonemi.config.reference import as_markdown, reference

MARKER = "<!-- settings -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace the marker, where a page has it, by the reference of every setting."""
    return markdown.replace(MARKER, as_markdown(reference())) if MARKER in markdown else markdown
