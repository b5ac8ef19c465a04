"""Parts of pages: `from pages import as_html`."""

from __future__ import annotations

from phonemi.report.pages import templates
from phonemi.tables import Table


def as_html(table: Table) -> str:
    """A table as pages show it."""
    return str(templates().get_template("table.html").module.table(table))  # type: ignore[attr-defined]
