"""Title and body in HTML -> one file that needs nothing else: styles, script, figures and sounds are in it."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from phonemi.files import write_text
from phonemi.report.plot_style import THEME


def write_page(path: str | Path, title: str, body: str, linked_sounds: bool = False) -> Path:
    """Write a page in the look of all pages: light and dark, wide and narrow, no request to anywhere.

    Args:
        path: where to.
        title: plain text.
        body: HTML, its texts escaped.
        linked_sounds: let the players read files beside the page too.

    Returns:
        The path.
    """
    template = (
        resources.files("phonemi").joinpath("report", "templates", "report_page.html").read_text(encoding="utf-8")
    )
    # A page opened from a disk is of no origin in some browsers, so that 'self' alone would not do.
    media = "data: 'self' file:" if linked_sounds else "data:"
    write_text(path, Template(template).substitute(title=escape(title), body=body, media=media))
    return Path(path)


def require_writable(path: str | Path) -> None:
    """Find out before the work whether `write_page` can write there afterwards; nothing is made.

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


def inline_svg(drawing: str, name: str) -> str:
    """An SVG file -> the same drawing inside a page: unique ids, colours that follow the page, no outside names.

    >>> inline_svg('<?xml?><svg xmlns="..."><path id="a" style="fill: #1c2126"/><use xlink:href="#a"/></svg>', "f")
    '<svg><path id="f-a" style="fill: var(--ink)"/><use href="#f-a"/></svg>'
    """
    drawing = drawing[drawing.index("<svg") :].strip()
    drawing = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<defs>\s*</defs>", "", drawing, flags=re.DOTALL
    )
    drawing = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", drawing).replace("xlink:href=", "href=")
    drawing = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", drawing)
    for colour, value in THEME.items():
        drawing = drawing.replace(value, f"var(--{colour})")
    return re.sub(r"\n\s*", "\n", drawing)
