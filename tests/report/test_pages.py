"""A page holds what it is given; which sounds it may read is in its header; drawings take the colours of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from phonemi.report.pages import inline_svg, require_writable, write_page


@pytest.mark.parametrize(("linked", "media"), [(False, "media-src data:"), (True, "media-src data: 'self' file:")])
def test_a_page_says_what_it_may_read(tmp_path: Path, linked: bool, media: str) -> None:
    values = {"name": "a <b>", "headlines": ["<p>$x</p>"], "sections": {}}
    path = write_page(tmp_path / "new" / "page.html", "base.html", linked, **values)
    page = path.read_text()
    assert f'{media}">' in page
    assert "<title>a &lt;b&gt; · phonemi</title>" in page
    assert "<li>&lt;p&gt;$x&lt;/p&gt;</li>" in page


def test_a_place_is_tried_before_the_work_and_nothing_is_left(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "deep" / "page.html")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "page.html"):
        with pytest.raises(OSError, match="a directory") as error:
            require_writable(place)
        assert error.value.filename == str(place)


def test_inlined_drawings_follow_the_page_colours() -> None:
    drawing = '<svg xmlns="http://www.w3.org/2000/svg"><metadata>http://x</metadata><g id="a" fill="#fffffe"/></svg>'
    assert inline_svg(drawing, "f") == '<svg><g id="f-a" fill="var(--paper)"/></svg>'
