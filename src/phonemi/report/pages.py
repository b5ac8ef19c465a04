"""Pages: one HTML file each that needs nothing else, because styles, script, figures and sounds are in it."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phonemi.files import write_text
from phonemi.report.figure_style import THEME
from phonemi.tables import snr_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def write_page(path: str | Path, template: str, linked_sounds: bool = False, **values: Any) -> Path:
    """Fill a template that extends base.html, and write the page; returns its path.

    With `linked_sounds`, players may read files beside the page too. Names of files that are not UTF-8 are written with
    U+FFFD for what is none.
    """
    # A page opened from a disk is of no origin in some browsers, so that 'self' alone would not do.
    media = "data: 'self' file:" if linked_sounds else "data:"
    write_text(path, re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", render(template, media=media, **values)))
    return Path(path)


def render(template: str, **values: Any) -> str:
    """Fill a template of `report/templates`; texts are escaped."""
    return templates().get_template(template).render(values)


@cache
def templates() -> Environment:
    """The templates of `report/templates`."""
    import jinja2  # here, so that the command line starts without it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("phonemi", "report/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["snr"] = snr_text
    return environment


def require_writable(path: str | Path) -> None:
    """Find out before a long computation whether `write_page` can write there afterwards; nothing is written.

    Raises:
        OSError: naming `path`, if it is a folder, or if no file can be written to where it is to be.
    """
    path = Path(path)
    folder = next(folder for folder in Path(os.path.abspath(path)).parents if folder.exists())
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(path)
        raise


def inline_svg(drawing: str, name: str) -> Markup:
    """The text of an SVG file as a part of a page: its ids begin with a name, its colours follow the page.

    >>> str(inline_svg('<?xml?><svg xmlns="..."><path id="a" style="fill: #1c2126"/><use xlink:href="#a"/></svg>', "f"))
    '<svg><path id="f-a" style="fill: var(--ink)"/><use href="#f-a"/></svg>'
    """
    from markupsafe import Markup

    drawing = drawing[drawing.index("<svg") :].strip()
    drawing = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<defs>\s*</defs>", "", drawing, flags=re.DOTALL
    )
    drawing = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", drawing).replace("xlink:href=", "href=")
    drawing = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", drawing)
    for colour, value in THEME.items():
        drawing = drawing.replace(value, f"var(--{colour})")
    return Markup(re.sub(r"\n\s*", "\n", drawing))
