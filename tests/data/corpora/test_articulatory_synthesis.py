"""Speech by a model of the vocal tract: what is drawn, how it is measured, and, with the extra, what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.data.alignment import PHONES, check_fit
from phonemi.data.corpora import articulatory_synthesis as synthesis
from phonemi.data.corpora.articulatory_synthesis import (
    GERMAN,
    SPEAKERS,
    Utterance,
    draw_utterance,
    prepare_articulatory_synthesis,
)
from phonemi.data.manifest import Interval, Recording, validate
from phonemi.errors import DataError, MissingExtra
from phonemi.inversion.tracks import Tracks, read_tracks

SCORE = """<gestural_score>
  <gesture_sequence type="vowel-gestures" unit="">
    <gesture value="a" slope="0.000000" duration_s="0.200000" time_constant_s="0.012000" neutral="0" />
    <gesture value="9" slope="0.000000" duration_s="0.100000" time_constant_s="0.012000" neutral="0" />
  </gesture_sequence>
  <gesture_sequence type="tongue-body-gestures" unit="">
    <gesture value="" slope="0.000000" duration_s="0.100000" time_constant_s="0.012000" neutral="1" />
    <gesture value="tb-velar-closure" slope="0.000000" duration_s="0.080000" time_constant_s="0.012000" neutral="0" />
  </gesture_sequence>
  <gesture_sequence type="glottal-shape-gestures" unit="">
    <gesture value="modal" slope="0.000000" duration_s="0.300000" time_constant_s="0.012000" neutral="0" />
  </gesture_sequence>
  <gesture_sequence type="f0-gestures" unit="st">
    <gesture value="80.000000" slope="0.000000" duration_s="0.010000" time_constant_s="0.030000" neutral="0" />
    <gesture value="83.000000" slope="0.000000" duration_s="0.300000" time_constant_s="0.030000" neutral="0" />
  </gesture_sequence>
  <gesture_sequence type="lung-pressure-gestures" unit="dPa">
    <gesture value="0.000000" slope="0.000000" duration_s="0.080000" time_constant_s="0.012000" neutral="0" />
    <gesture value="8000.000000" slope="0.000000" duration_s="0.450000" time_constant_s="0.005000" neutral="0" />
  </gesture_sequence>
</gestural_score>
"""


def utterance(*phones: tuple[str, float], speaker: int = 0, effort: str = "normal") -> Utterance:
    """What is to be said, given by hand: phones with durations in s."""
    ends = np.cumsum([duration_s for _, duration_s in phones]).round(3).tolist()
    intervals = [
        Interval(start_s, end_s, phone) for start_s, end_s, (phone, _) in zip([0.0, *ends], ends, phones, strict=False)
    ]
    segments = [(name, duration_s * share) for phone, duration_s in phones for name, share in GERMAN[phone]]
    f0 = ((ends[-1], float(12 * np.log2(SPEAKERS[speaker].f0_hz))),)
    return Utterance("it", 0, SPEAKERS[speaker], "it", tuple(intervals), tuple(segments), effort, f0, -23.0)


@pytest.fixture
def needs_dictionary() -> None:
    pytest.importorskip("pocketsphinx", reason="the pronunciation dictionary is that of pocketsphinx")


def test_every_phone_of_english_can_be_said() -> None:
    assert set(GERMAN) == set(PHONES)
    assert all(sum(share for _, share in segments) == pytest.approx(1) for segments in GERMAN.values())


@pytest.mark.usefixtures("needs_dictionary")
def test_what_is_drawn_depends_on_seed_and_index_alone() -> None:
    assert draw_utterance(3, SPEAKERS[1], 7) == draw_utterance(3, SPEAKERS[1], 7)
    assert draw_utterance(3, SPEAKERS[1], 7).text != draw_utterance(4, SPEAKERS[1], 7).text
    assert json.dumps(draw_utterance(3, SPEAKERS[1], 7))


@pytest.mark.usefixtures("needs_dictionary")
@pytest.mark.parametrize("index", range(12))
def test_phones_segments_and_pitch_fill_the_same_time(index: int) -> None:
    plan = draw_utterance(index, SPEAKERS[index % len(SPEAKERS)], 0)
    end_s = plan.phones[-1].end_s
    for sequence in (plan.segments, [(value, duration_s) for duration_s, value in plan.f0]):
        assert sum(duration_s for _, duration_s in sequence) == pytest.approx(end_s, abs=0.01)
    assert all(first.end_s == second.start_s for first, second in zip(plan.phones, plan.phones[1:], strict=False))
    assert (plan.phones[0].phone, plan.phones[-1].phone) == ("SIL", "SIL")
    check_fit(Recording(id="a", path="a", sample_rate=1000, samples=round(1000 * end_s), phones=plan.phones))
    hz = 2 ** (np.array([value for _, value in plan.f0]) / 12)
    assert (hz > plan.speaker.f0_hz / 1.8).all()
    assert (hz < plan.speaker.f0_hz * 1.8).all()


def test_scores_get_the_pitch_effort_and_r_of_the_utterance() -> None:
    plan = utterance(("AA", 0.2), ("R", 0.1), effort="soft")
    text = synthesis._adapt_score(SCORE, plan)
    assert synthesis._gestures(text, "vowel-gestures") == [("a", 0.2), ("6_mid", 0.1)]
    assert synthesis._gestures(text, "glottal-shape-gestures") == [("breathy", 0.3)]
    assert synthesis._gestures(text, "f0-gestures") == [(f"{plan.f0[0][1]:.6f}", 0.3)]
    assert [value for value, _ in synthesis._gestures(text, "lung-pressure-gestures")] == ["0.000000", "5600.000000"]


def test_a_gesture_is_active_while_it_lasts() -> None:
    times_s = np.arange(120) / 400
    activity = synthesis._activity(synthesis._gestures(SCORE, "tongue-body-gestures"), "tb-velar-closure", times_s)
    assert activity[56] == pytest.approx(1)  # the middle, 0.14 s
    assert activity[28] < 1e-9
    assert activity[84] < 1e-9


WALL = np.array([[-3.0, -5.0], [-3.0, 0.0], [0.0, 1.0], [5.0, 1.0]])  # pharynx and a flat palate


def test_the_gap_to_a_wall_is_zero_beyond_it() -> None:
    below = np.array([[1.0, 0.2], [2.0, 0.7], [3.0, 0.1]])
    assert synthesis._gap(below, WALL) == (pytest.approx(0.3), 2.0)
    assert synthesis._gap(below + np.array([0, 0.5]), WALL) == (0.0, 2.0)
    assert synthesis._gap(np.array([[-2.6, -3.0]]), WALL) == (pytest.approx(0.4), -2.6)
    assert synthesis._gap(np.array([[-3.4, -3.0]]), WALL)[0] == 0.0


def test_a_stretch_of_a_line_begins_and_ends_where_it_should() -> None:
    line = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])
    points = synthesis._stretch(line, 1.0, 5.0)
    np.testing.assert_allclose(points[[0, -1]], [[1, 0], [3, 2]])
    assert np.linalg.norm(np.diff(points, axis=0), axis=1).max() <= 0.05 + 1e-9
    np.testing.assert_allclose(synthesis._stretch(line, 6.5, 99.0)[-1], [3, 4])


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vocaltractlab_cython", None)
    with pytest.raises(MissingExtra, match=r"pip install 'phonemi\[articulatory\]'") as caught:
        prepare_articulatory_synthesis(tmp_path / "corpus", utterances=1)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize("options", [{"utterances": 0}, {"speakers": 0}, {"speakers": 9}])
def test_nothing_to_render_is_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(DataError, match="need"):
        prepare_articulatory_synthesis(tmp_path, **options)


def between(tracks: Tracks, name: str, interval: Interval) -> np.ndarray:
    return tracks.column(name)[int(100 * interval.start_s) + 2 : int(100 * interval.end_s) - 1]


@pytest.mark.slow
def test_what_is_said_and_measured_is_what_was_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("vocaltractlab_cython", reason="pip install 'phonemi[articulatory]', GPL")
    phones = [("SIL", 0.12), ("B", 0.08), ("AA", 0.15), ("N", 0.09), ("IY", 0.14), ("G", 0.09), ("AA", 0.14)]
    plan = utterance(*phones, ("SIL", 0.1), speaker=1)
    synthesis._render_all(tmp_path, [plan], 1)
    recording = synthesis._recording(tmp_path, plan)
    validate([recording])
    assert recording.duration_s == pytest.approx(0.91, abs=0.02)
    waveform, tracks = audio.load(recording.path), read_tracks(recording.tracks or "")
    assert audio.level_db(waveform) == pytest.approx(-23, abs=2)
    assert np.abs(waveform).max() < 0.99
    _, b, aa, n, iy, g, *_ = plan.phones
    assert between(tracks, "LA", b).min() == 0
    assert between(tracks, "LA", aa).min() > 3
    assert between(tracks, "TTCD", n).min() < 1 < between(tracks, "TTCD", aa).min()
    assert between(tracks, "TBCD", g).min() < 2.3
    assert between(tracks, "TBCD", iy).min() < between(tracks, "TBCD", aa).min()
    assert between(tracks, "VO", n).max() > 10 > between(tracks, "VO", iy)[3:].max()
    assert np.nanmedian(between(tracks, "F0", aa)) == pytest.approx(SPEAKERS[1].f0_hz, rel=0.1)
    marker = synthesis._marker(tmp_path, plan)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    synthesis._render_all(tmp_path, [plan], 1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    assert marker in before


CLOSURES = """
import os, sys
import numpy as np
import vocaltractlab_cython as vtl
from pathlib import Path
from data.corpora.test_articulatory_synthesis import utterance
from phonemi.data.corpora import articulatory_synthesis as synthesis
names = [parameter["name"] for parameter in vtl.get_param_info("tract")]
plans = [utterance(("SIL", .1), (vowel, .15), ("K", .1), (vowel, .15), ("SIL", .1)) for vowel in ("AA", "IY")]
motions = [synthesis._move(plan) for plan in plans]
for speaker in synthesis.SPEAKERS:
    for motion in motions:
        states = synthesis._adapted(vtl, speaker, motion, names)[90:150:6]
        areas = [vtl.tract_state_to_tube_state(state)["tube_area"][16:].min() for state in states]
        print(speaker.name, min(areas), flush=True)
os._exit(0)  # the library crashes at the end of a process that has set an anatomy
"""


@pytest.mark.slow
def test_the_tongue_of_every_speaker_reaches_the_velum() -> None:
    pytest.importorskip("vocaltractlab_cython", reason="pip install 'phonemi[articulatory]', GPL")
    tests = Path(__file__).parents[2]
    code = f"import sys; sys.path.insert(0, {str(tests)!r}){CLOSURES}"
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 2 * len(SPEAKERS)
    for line in lines:
        assert float(line.split()[1]) < 0.01, line
