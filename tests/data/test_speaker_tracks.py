"""Tracks normalised for each speaker, and parts of them between frames: answers known on paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phonemi.data.manifest import Recording
from phonemi.data.speaker_tracks import SpeakerTracks
from phonemi.errors import DataError
from phonemi.inversion.tracks import Tracks, write_tracks

NAMES, UNITS = ("LA", "PER"), ("mm", "0..1")


def recording(folder: Path, name: str, speaker: str | None, values: list[list[float]] | None, **changes) -> Recording:
    """With tracks of these values, [frame, variable]; None: without."""
    tracks = None
    if values is not None:
        tracks = str(folder / f"{name}.npz")
        parts = {"names": NAMES, "units": UNITS} | changes
        write_tracks(tracks, Tracks(np.array(values, np.float32), **parts))
    samples = 160 * len(values or [0])
    return Recording(id=name, path=f"{name}.wav", sample_rate=16_000, samples=samples, speaker=speaker, tracks=tracks)


@pytest.fixture
def ramp(tmp_path: Path) -> SpeakerTracks:
    """LA is -1, -0.5, 0, 0.5, 1 in frames 0 to 4, of 2 to 10 mm; PER is not known in frame 2."""
    values = [[2, 0], [4, 1], [6, np.nan], [8, 1], [10, 0]]
    return SpeakerTracks([recording(tmp_path, "ramp", "s", values)])


def test_variables_go_from_minus_1_to_1_about_the_mean(ramp: SpeakerTracks) -> None:
    np.testing.assert_allclose(ramp.values["ramp"][:, 0], [-1, -0.5, 0, 0.5, 1])
    assert ramp.names == NAMES
    assert (ramp.normalisation_of("ramp").mean[0], ramp.normalisation_of("ramp").reach[0]) == (6, 4)


@pytest.mark.parametrize(
    ("start", "samples", "expected"),
    [
        (0, 800, [-1, -0.5, 0, 0.5, 1]),
        (160, 320, [-0.5, 0]),
        (80, 480, [-0.75, -0.25, 0.25]),
        (200, 320, [-0.375, 0.125]),
        (480, 480, [0.5, 1, np.nan]),  # the last of these is beyond the end
        (520, 320, [0.625, np.nan]),  # half of the way to a frame that is not there
        (1600, 160, [np.nan]),
        (0, 161, [-1, -0.5]),
    ],
)
def test_a_part_is_interpolated_between_frames(
    ramp: SpeakerTracks, start: int, samples: int, expected: list[float]
) -> None:
    part = ramp.part("ramp", start, samples)
    assert part.dtype == np.float32
    np.testing.assert_allclose(part[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("start", "known"), [(0, [True, True, False, True, True]), (80, [True, False, False, True, False])]
)
def test_what_has_an_unknown_neighbour_is_unknown(ramp: SpeakerTracks, start: int, known: list[bool]) -> None:
    part = ramp.part("ramp", start, 800)
    assert np.isfinite(part[:, 1]).tolist() == known
    assert np.isfinite(part[:4, 0]).all(), "of the other variable all is known"


def test_speakers_are_normalised_apart_over_all_that_they_say(tmp_path: Path) -> None:
    recordings = [
        recording(tmp_path, "a1", "a", [[0, 0], [4, 1]]),
        recording(tmp_path, "a2", "a", [[8, 1], [4, 0]]),
        recording(tmp_path, "b1", "b", [[10, 0], [12, 1]]),
        recording(tmp_path, "c1", None, [[1, 0], [2, 1]]),
        recording(tmp_path, "c2", None, [[3, 0], [9, 1]]),
    ]
    tracks = SpeakerTracks(recordings)
    assert tracks.values["a1"][:, 0].tolist() == [-1, 0]
    assert tracks.values["a2"][:, 0].tolist() == [1, 0]
    assert tracks.values["b1"][:, 0].tolist() == [-1, 1]
    assert tracks.values["c1"][:, 0].tolist() == tracks.values["c2"][:, 0].tolist() == [-1, 1], "not one speaker"
    assert len(tracks.normalisations) == 4


def test_the_typical_speaker_is_the_mean_of_those_who_have_a_variable(tmp_path: Path) -> None:
    unknown = float("nan")
    tracks = SpeakerTracks(
        [
            recording(tmp_path, "a", "a", [[0, unknown], [8, unknown]]),
            recording(tmp_path, "b", "b", [[10, 0.25], [12, 0.75]]),
        ]
    )
    typical = tracks.typical()
    np.testing.assert_allclose(typical.mean, [(4 + 11) / 2, 0.5])
    np.testing.assert_allclose(typical.reach, [(4 + 1) / 2, 0.25])
    assert (typical.names, typical.units) == (NAMES, UNITS)


def test_the_typical_reach_of_a_variable_that_nobody_has_is_a_number(tmp_path: Path) -> None:
    typical = SpeakerTracks([recording(tmp_path, "a", "a", [[0, np.nan], [8, np.nan]])]).typical()
    assert (typical.mean[1], typical.reach[1]) == (0, 1)


def test_recordings_without_tracks_are_left_out_and_unknown(tmp_path: Path) -> None:
    tracks = SpeakerTracks([recording(tmp_path, "with", "a", [[1, 0], [3, 1]]), recording(tmp_path, "no", "a", None)])
    assert tracks.values.keys() == tracks.speakers.keys() == {"with"}
    for name in ("no", "never heard of"):
        assert tracks.part(name, 0, 320).shape == (2, 2)
        assert np.isnan(tracks.part(name, 0, 320)).all()


def test_without_any_tracks_it_is_an_error_that_names_corpora(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no recording has tracks .* articulatory-synthesis") as error:
        SpeakerTracks([recording(tmp_path, "no", "a", None)])
    assert "\n" not in str(error.value)


def test_other_variables_are_refused(tmp_path: Path) -> None:
    recordings = [
        recording(tmp_path, "a", "a", [[1, 0], [3, 1]]),
        recording(tmp_path, "b", "b", [[1, 0], [3, 1]], names=("LA", "TTCD"), units=("mm", "mm")),
    ]
    with pytest.raises(DataError, match=r"b\.npz has the variables LA, TTCD, not LA, PER"):
        SpeakerTracks(recordings)
    with pytest.raises(DataError, match=r"a\.npz has the variables LA, PER, not LP, PER"):
        SpeakerTracks(recordings[:1], ("LP", "PER"))
    assert SpeakerTracks(recordings[:1], ["LA", "PER"]).names == NAMES, "as a list too"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    broken = recording(tmp_path, "a", "a", [[1, 0], [3, 1]])
    Path(broken.tracks or "").write_bytes(b"no tracks")
    with pytest.raises(DataError, match=r"a\.npz does not hold tracks"):
        SpeakerTracks([broken])
