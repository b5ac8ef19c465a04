"""Tracks on disk, filtered, at another rate, cut to their sound, and normalised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phonemi.errors import DataError
from phonemi.inversion.tracks import (
    RATE_HZ,
    Normalisation,
    Tracks,
    fit_to_audio,
    frames_in,
    read_columns,
    read_tracks,
    resample,
    smooth,
    tracks_of,
    write_tracks,
)


def sine(hz: float, rate_hz: float, seconds: float = 2.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)


def some_tracks(seed: int = 0) -> Tracks:
    values = np.random.default_rng(seed).normal(5, 3, (40, 3)).astype(np.float32)
    values[3:6, 1] = np.nan
    values[:, 2] = np.nan
    return Tracks(values, ("LA", "F0", "TTCD"), ("mm", "Hz", "mm"), {"TTCD": "no palate"})


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_tracks_come_back_from_disk(tmp_path: Path, suffix: str) -> None:
    tracks = some_tracks()
    write_tracks(tmp_path / f"a{suffix}", tracks)
    again = read_tracks(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(again.values, tracks.values, rtol=1e-6)
    assert (again.names, again.units) == (tracks.names, tracks.units)
    assert again.values.dtype == np.float32
    assert again.reasons == (tracks.reasons if suffix == ".npz" else {})
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_the_csv_says_names_and_units(tmp_path: Path) -> None:
    write_tracks(tmp_path / "a.csv", some_tracks())
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "time_s,LA (mm),F0 (Hz),TTCD (mm)"
    assert lines[4].startswith("0.03,")
    assert lines[4].endswith(",,")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"time_s,LA (mm)\n0,1\n", b"a,b\n1,2\n2,3\n"])
@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name) as caught:
        read_tracks(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="does not exist"):
        read_tracks(tmp_path / f"missing{suffix}")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", values=np.array([{"a": 1}], dtype=object), rate_hz=RATE_HZ)
    with pytest.raises(DataError, match="does not hold tracks"):
        read_tracks(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time_s,LA\n0,1\n0.01\n", "line 3 has 1 cells"),
        ("time_s,LA\n0,1\n0.01,x\n", "could not convert"),
        ("time_s,LA\n0.02,1\n0.01,2\n", "even steps"),
        ("time_s,LA\n0,1\n0.01,2\n0.05,2\n", "even steps"),
    ],
)
def test_a_csv_that_is_not_a_table_of_frames(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_columns(tmp_path / "a.csv")


def test_a_csv_of_another_rate_is_resampled(tmp_path: Path) -> None:
    rows = "".join(f"{t / 200:.4f},{value}\n" for t, value in enumerate(sine(3, 200)))
    (tmp_path / "a.csv").write_text("time_s,LA\n" + rows)
    tracks = read_tracks(tmp_path / "a.csv")
    np.testing.assert_allclose(tracks.values[:, 0], sine(3, 100), atol=1e-4)
    assert tracks.units == ("mm",)


def test_slow_movement_passes_without_delay_and_fast_noise_does_not() -> None:
    slow, fast = sine(3, 145.6), sine(40, 145.6)
    inner = slice(30, -30)
    np.testing.assert_allclose(smooth(slow + fast, 145.6)[inner], slow[inner], atol=0.02)


def test_a_gap_stays_and_nothing_is_smeared_over_it() -> None:
    values = np.where(np.arange(400) < 200, 0.0, 100.0)
    values[200:203] = np.nan
    result = smooth(values, 200)
    np.testing.assert_allclose(result[:200], 0, atol=1e-9)
    assert np.isnan(result[200:203]).all()
    np.testing.assert_allclose(result[203:], 100)


def test_columns_are_filtered_by_themselves_and_lone_values_kept() -> None:
    values = np.full((10, 2, 2), np.nan)
    values[4], values[8:10] = 7.0, 3.0
    np.testing.assert_allclose(smooth(values, 100), values)
    assert np.isnan(smooth(np.full((5, 1), np.nan), 100)).all()
    np.testing.assert_allclose(smooth(values, 15), values)  # slower than the cut-off


@pytest.mark.parametrize("rate_hz", [60.0, 100.0, 145.64, 200.0, 250.0, 400.9])
def test_any_rate_becomes_100_hz(rate_hz: float) -> None:
    result = resample(sine(4, rate_hz), rate_hz)
    assert abs(len(result) - 200) <= 1
    np.testing.assert_allclose(result[:198], sine(4, 100)[:198], atol=0.02)  # the last value is held


def test_gaps_are_resampled_as_gaps() -> None:
    values = sine(2, 200)
    values[100:140] = np.nan
    result = resample(values, 200)
    assert np.flatnonzero(np.isnan(result)).tolist() == list(range(50, 70))
    np.testing.assert_allclose(result[:50], sine(2, 100)[:50], atol=1e-4)


def test_tracks_are_cut_or_lengthened_to_their_sound() -> None:
    tracks = some_tracks()
    assert fit_to_audio(tracks, 0.35, "a").values.shape == (35, 3)
    longer = fit_to_audio(tracks, 0.45, "a")
    assert longer.values.shape == (45, 3)
    assert np.isnan(longer.values[40:]).all()
    for duration_s in (0.2, 0.6):
        with pytest.raises(DataError, match=r"0.40 s of tracks"):
            fit_to_audio(tracks, duration_s, "a")


def test_frames_are_those_that_begin_in_the_sound() -> None:
    assert [frames_in(samples / 16_000) for samples in (1, 159, 160, 161, 16_000)] == [1, 1, 1, 2, 100]


def test_normalisation_reaches_one_and_can_be_undone() -> None:
    recordings = [some_tracks(seed) for seed in range(3)]
    normalisation = Normalisation.of(recordings)
    normalised = [normalisation.normalise(tracks) for tracks in recordings]
    values = np.concatenate([tracks.values for tracks in normalised])
    np.testing.assert_allclose(np.nanmax(np.abs(values[:, :2]), axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(np.nanmean(values[:, :2], axis=0), 0, atol=1e-6)
    assert np.isnan(values[:, 2]).all()
    assert set(normalised[0].units) == {"range"}
    back = normalisation.restore(normalised[1])
    np.testing.assert_allclose(back.values, recordings[1].values, rtol=1e-5)
    assert (back.units, back.reasons) == (recordings[1].units, {"TTCD": "no palate"})


def test_a_variable_that_never_moves_is_zero() -> None:
    still = tracks_of({"LA": np.full(10, 4.0)})
    assert (Normalisation.of([still]).normalise(still).values == 0).all()


def test_tracks_of_other_variables_cannot_be_normalised_together() -> None:
    one, other = tracks_of({"LA": np.zeros(3)}), tracks_of({"LP": np.zeros(3)})
    for act in (lambda: Normalisation.of([one, other]), lambda: Normalisation.of([one]).normalise(other)):
        with pytest.raises(DataError, match="LP"):
            act()
    with pytest.raises(DataError, match="no tracks"):
        Normalisation.of([])


def test_a_column_by_name() -> None:
    assert some_tracks().column("LA").shape == (40,)
    with pytest.raises(DataError, match="LA, F0, TTCD"):
        some_tracks().column("LX")
