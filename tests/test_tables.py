"""phonemi.tables: one table, three printers; a terminal of any width loses nothing, texts are escaped."""

from __future__ import annotations

import re

import pytest
from pages import as_html

from phonemi.tables import Cell, Column, Row, Table

INTERVAL = Cell(-1.234, 2, interval=(-2, 0.5), scored=822, total=824)


def test_numbers_stand_at_the_right_and_texts_at_the_left() -> None:
    table = Table(
        ["row", Column("SI-SDR", "dB"), "verdict"], [["noisy", Cell(10.5, 1), "good"], ["a", Cell(-3.0, 1), "not so"]]
    )
    assert table.text().splitlines() == [
        "row   SI-SDR verdict",
        "          dB",
        "noisy   10.5 good",
        "a       −3.0 not so",
    ]


def test_marked_numbers_stay_in_line() -> None:
    table = Table(["layer", "0 dB"], [["0", Cell(0.5, mark="*")], ["1", Cell(0.25)]])
    assert table.text().splitlines() == ["layer 0 dB", "0     0.50*", "1     0.25"]


@pytest.mark.parametrize(("width", "blocks"), [(5, 6), (8, 3), (40, 1), (None, 1)])
def test_what_does_not_fit_beside_goes_below(width: int | None, blocks: int) -> None:
    table = Table(["row", *"abcdef"], [["x", *(Cell(float(value), 0) for value in range(6))], ["y", *[Cell()] * 6]])
    lines = table.text(width).splitlines()
    assert len(lines) == 3 * blocks
    assert "".join(lines[0::3]).replace(" ", "").replace("row", "") == "abcdef"
    assert [cell for line in lines[1::3] for cell in line.split()[1:]] == list("012345")
    if width == 40:
        assert max(map(len, lines)) <= 40


def test_a_table_of_one_column_and_one_without_rows_are_printed() -> None:
    assert Table(["name"], [["a"]]).text(3) == "name\na"
    assert Table(["name", "b"], []).text() == "name b"
    assert Table(["name", "b"], []).markdown() == "| name | b |\n|---|---|"


def test_markdown_has_everything_that_belongs_to_a_number() -> None:
    cell = Cell(0.1, 3, interval=(0.05, 0.15), spread=0.01, scored=3, total=4, details=("▲", "(0.0609)"), bold=True)
    table = Table(["row", "WER"], [["a", cell], ["b", Cell(interval=(None, None), notes=("for pages only",))]])
    assert table.markdown().splitlines()[2:] == [
        "| a | **0.100 [0.050, 0.150] ±0.0100 (3 of 4 scored) ▲ (0.0609)** |",
        "| b | – |",
    ]


def test_html_shows_details_below_the_number_and_sorts_by_the_exact_value() -> None:
    html = as_html(Table(["row", "SI-SDR"], [["a", INTERVAL]], "metrics sortable"))
    assert (
        '<td data-value="-1.234">−1.23<small>[−2.00, 0.50]</small><small><em>822 of 824 scored</em></small></td>'
        in html
    )
    assert html.count('<button type="button">') == 2
    assert "button" not in as_html(Table(["row"], [["a"]]))


def test_html_escapes_every_text() -> None:
    cell = Cell("<b>", details=("<i>",), hint='"<u>', link="?a&b", kind="verdict")
    html = as_html(Table([Column("<h>", "<v>", meaning="<w>")], [["<r>"], [cell]]))
    assert not re.search("<[bihruvw]>", html)
    assert 'href="?a&amp;b"' in html
    assert 'title="&#34;&lt;u&gt;"' in html


def test_bounds_stand_above_and_below_the_rows_that_are_compared() -> None:
    rows = [
        Row((Cell("clean"), Cell(1.0)), "upper"), Row((Cell("a"), Cell(0.8, best=True))),
        Row((Cell("noisy"), Cell(0.5)), "lower"),
    ]  # fmt: skip
    html = as_html(Table(["row", Column("STOI", higher_is_better=True)], rows))
    assert re.findall('scope="row">(.*?)<', html) == ["noisy", "a", "clean"]
    assert re.findall('<tbody class="(.*?)">', html) == ["bound", "compared", "bound"]
    assert 'class="best" data-value="0.8"><strong>0.80</strong>' in html
    assert "STOI <span>↑</span>" in html
    assert [line.split()[0] for line in Table(["row", "STOI"], rows).text().splitlines()] == [
        "row",
        "clean",
        "a",
        "noisy",
    ]
