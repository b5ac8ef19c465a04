"""Pages and figures of articulation hold what the tracks say, and what is unknown stays open."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi.errors import ConfigError, DataError
from phonemi.inversion.tracks import Tracks, tracks_of
from phonemi.report import articulation
from phonemi.report.articulation import (
    Articulation,
    articulation_figure,
    articulation_page,
    articulation_section,
    write_articulation_page,
)
from phonemi.report.figure_style import write_figure
from phonemi.report.midsagittal import outlines

RATE = 16_000


@pytest.fixture
def sound() -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * 150 * np.arange(RATE) / RATE)).astype(np.float32)


@pytest.fixture
def tracks() -> Tracks:
    """A second in which the lips close and the tongue tip is lost for a while."""
    time_s = np.arange(100) / 100
    columns = {
        **{"LA": 6 + 6 * np.cos(2 * np.pi * time_s), "LP": np.full(100, 9.0), "TTCL": np.full(100, -8.0)},
        **{"TTCD": 2 + time_s, "TBCL": np.full(100, -45.0), "TBCD": np.full(100, 7.0), "PER": np.full(100, 0.9)},
        **{"F0": np.full(100, 120.0), "NAS": np.full(100, np.nan)},
    }
    columns["TTCD"][40:60] = np.nan
    return tracks_of(columns, {"NAS": "no nasal microphone"})


def data_of(section: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json">(.*?)</script>', section, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_a_section_holds_outlines_and_values(sound: np.ndarray, tracks: Tracks) -> None:
    data = data_of(articulation_section(tracks, sound, RATE))
    shapes = outlines(tracks)
    for name, line in shapes.lines.items():
        steps = np.frombuffer(base64.b64decode(data["lines"][name]["steps"]), "<i2")
        drawn = steps.reshape(-1, data["lines"][name]["points"], 2) / data["steps_per_mm"]
        np.testing.assert_allclose(drawn, line, atol=0.011)
    assert data["known"]["tip"] == "1" * 20 + "0" * 10 + "1" * 20
    assert data["known"]["velum"] == "0" * 50
    values = dict(zip(tracks.names, data["values"], strict=True))
    assert values["LA"][50] == 0
    assert values["TTCD"][39:61] == [2.39, *[None] * 20, 2.6]
    assert data["duration_s"] == 1


def test_a_section_says_what_is_schematic_and_unknown(sound: np.ndarray, tracks: Tracks) -> None:
    section = articulation_section(tracks, sound, RATE, title="<b>& co", text="a </script> b")
    assert "Schematic: one drawn mouth" in section
    assert "Nothing is known here of: velum." in section
    assert "no nasal microphone" in section
    assert "typical mouth" not in section
    assert "&lt;b&gt;&amp; co" in section
    assert section.count("</script>") == 2
    in_range = Tracks(np.zeros((100, 1), np.float32), ("LA",), ("range",))
    assert "typical mouth" in articulation_section(in_range, sound, RATE)


def test_sound_of_any_rate_and_number_of_channels(tracks: Tracks) -> None:
    stereo = np.zeros((2, 44_100), np.float32)
    stereo[:, 22_050] = 0.5
    assert data_of(articulation_section(tracks, stereo, 44_100))["duration_s"] == 1


def test_lengths_must_fit(sound: np.ndarray, tracks: Tracks) -> None:
    assert len(data_of(articulation_section(tracks, sound[:-1000], RATE))["values"][0]) == 94
    with pytest.raises(DataError, match=r"a\.wav: 0\.50 s of sound, but 1\.00 s of tracks"):
        articulation_section(tracks, sound[:8000], RATE, title="a.wav")
    with pytest.raises(DataError, match="no samples"):
        articulation_section(tracks, sound[:0], RATE)


def test_a_long_recording_is_cut(sound: np.ndarray, tracks: Tracks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(articulation, "MAX_SHOWN_S", 0.5)
    section = articulation_section(tracks, sound, RATE)
    assert data_of(section)["duration_s"] == 0.5
    assert len(data_of(section)["values"][0]) == 50
    assert "The first 0.5 s." in section


def test_a_page_has_all_recordings_and_asks_for_nothing(sound: np.ndarray, tracks: Tracks, tmp_path: Path) -> None:
    recordings = [Articulation(f"recording {index}", tracks, sound, RATE, "words") for index in range(2)]
    path = write_articulation_page(tmp_path / "page.html", "Two", recordings)
    page = path.read_text()
    assert page.count('<article class="articulation">') == 2
    assert "recording 1" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "http" not in unescape(page).replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    sounds = re.compile('"data:audio/.*?"')  # each Ogg file has a number of its own
    assert sounds.sub("", page) == sounds.sub("", articulation_page("Two", recordings))


@pytest.mark.slow
def test_a_figure_has_a_panel_for_each_variable_and_gaps(sound: np.ndarray, tracks: Tracks) -> None:
    second = Tracks(tracks.values[:, :4] + 1, tracks.names[:4], tracks.units[:4])
    figure = articulation_figure(sound, RATE, tracks, second)
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes] == ["kHz", *tracks.names]
    ttcd, tbcl, nas = figure.axes[4], figure.axes[5], figure.axes[-1]
    first, other = ttcd.lines
    np.testing.assert_array_equal(first.get_ydata(), tracks.column("TTCD"))
    np.testing.assert_array_equal(other.get_ydata(), tracks.column("TTCD") + 1)
    assert first.get_linestyle() == "-"
    assert other.get_linestyle() == "--"
    assert len(tbcl.lines) == 1
    assert [text.get_text() for text in nas.texts] == ["unknown: no nasal microphone"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["estimate", "truth"]
    assert not articulation_figure(sound, RATE, tracks).legends


@pytest.mark.slow
@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.PNG", b"\x89PNG"), ("a.pdf", b"%PDF")])
def test_a_figure_is_written_by_its_suffix(
    sound: np.ndarray, tracks: Tracks, tmp_path: Path, name: str, start: bytes
) -> None:
    contents = []
    for _ in range(2):
        figure = articulation_figure(sound, RATE, Tracks(tracks.values[:, :1], ("LA",), ("mm",)))
        write_figure(figure, tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0].startswith(start)
    assert contents[0] == contents[1], "the same numbers give the same bytes"
    with pytest.raises(ConfigError, match=r"figure\.bmp: a figure is written as \.svg, \.png, \.pdf, not as \.bmp"):
        write_figure(figure, tmp_path / "figure.bmp")
