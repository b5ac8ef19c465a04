"""Noise clips: levels, spectra, and that a clip is a function of its generator."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.data.corpora.procedural_noise import FAMILIES, babble, prepare_procedural_noise, procedural_noise
from phonemi.data.manifest import split_by_fold, validate
from phonemi.errors import DataError

SECOND = 16_000


def power_slope(waveform: np.ndarray) -> float:
    """Slope of the power spectrum in powers of the frequency, from two octave bands."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    hz = np.fft.rfftfreq(len(waveform), 1 / SECOND)
    low, high = (power[(hz >= edge) & (hz < 2 * edge)].mean() for edge in (125, 2000))
    return float(np.log(low / high) / np.log(2000 / 125))


@pytest.mark.parametrize("family", FAMILIES)
def test_level_peak_and_no_silence(family: str) -> None:
    for seed in range(4):
        clip = procedural_noise(family, 6 * SECOND, np.random.default_rng(seed))
        assert clip.dtype == np.float32
        assert clip.shape == (6 * SECOND,)
        assert np.abs(clip).max() <= 0.951
        assert -32 < audio.level_db(clip) <= -22.99
        quietest = min(audio.level_db(part) for part in np.split(clip, 30))
        assert quietest > audio.level_db(clip) - 40


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clip_is_a_function_of_its_generator(family: str) -> None:
    first, again, other = (procedural_noise(family, SECOND, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.9


@pytest.mark.parametrize(
    ("family", "lowest", "highest"), [("white", -0.3, 0.3), ("pink", 0.6, 1.3), ("brown", 1.5, 2.3)]
)
def test_colours(family: str, lowest: float, highest: float) -> None:
    clip = procedural_noise(family, 6 * SECOND, np.random.default_rng(0))
    assert lowest < power_slope(clip) < highest


def test_speech_shaped_noise_lies_below_1_khz() -> None:
    power = np.abs(np.fft.rfft(procedural_noise("speech-shaped", 4 * SECOND, np.random.default_rng(0)))) ** 2
    assert power[: 4 * 1000].sum() > 0.8 * power.sum()


def test_hum_stands_at_the_harmonics_of_the_mains() -> None:
    clip = procedural_noise("hum", 6 * SECOND, np.random.default_rng(3))
    hz = np.argmax(np.abs(np.fft.rfft(clip))) / 6
    assert min(abs(hz - mains * round(hz / mains)) for mains in (50, 60)) < 0.01 * hz


def test_any_length() -> None:
    for family in FAMILIES:
        for samples in (1, 2, 999):
            clip = procedural_noise(family, samples, np.random.default_rng(0))
            assert clip.shape == (samples,)
            assert np.isfinite(clip).all()


def test_babble_holds_every_voice_at_about_one_level() -> None:
    time_s = np.arange(SECOND) / SECOND
    voices = [level * np.sin(2 * np.pi * hz * time_s) for level, hz in ((0.01, 300), (0.5, 900))]
    spectrum = np.abs(np.fft.rfft(babble(voices, SECOND, np.random.default_rng(0))))
    assert abs(20 * np.log10(spectrum[300] / spectrum[900])) <= 6.5
    assert audio.level_db(babble(voices, 3 * SECOND, np.random.default_rng(0))) == pytest.approx(-23, abs=0.01)


def share_below(hz: float, family: str) -> float:
    """Of the power of four clips."""
    clips = [procedural_noise(family, 6 * SECOND, np.random.default_rng(seed)) for seed in range(4)]
    power = sum(np.abs(np.fft.rfft(clip)) ** 2 for clip in clips)
    return float(power[: int(6 * hz)].sum() / power.sum())


@pytest.mark.parametrize(("family", "hz", "least"), [("rumble", 150, 0.9), ("wind", 1000, 0.95), ("bumps", 300, 0.5)])
def test_what_shakes_the_microphone_is_low(family: str, hz: float, least: float) -> None:
    assert share_below(hz, family) > least > share_below(hz, "white")


def test_voices_and_instruments_lie_where_speech_does() -> None:
    for family in ("horn", "alarm", "music", "cries", "siren"):
        assert share_below(100, family) < 0.1
        assert share_below(4000, family) > 0.8


@pytest.mark.parametrize("family", ["horn", "alarm", "music", "cries", "engine"])
def test_tones_stand_out(family: str) -> None:
    """The strongest hundredth of the bins of a tenth of a second holds most of the power, of white noise little."""

    def tonality(family: str) -> float:
        shares = []
        for seed in range(4):
            clip = procedural_noise(family, 6 * SECOND, np.random.default_rng(seed))
            power = np.sort(np.abs(np.fft.rfft(clip.reshape(-1, SECOND // 10) * np.hanning(SECOND // 10))) ** 2)
            loud = power[power.sum(1) > np.median(power.sum(1)) / 10]
            shares.append((loud[:, -16:].sum(1) / loud.sum(1)).mean())
        return float(np.mean(shares))

    assert tonality(family) > 2 * tonality("white")


def test_a_jackhammer_strikes_12_to_30_times_a_second() -> None:
    for seed in range(4):
        clip = procedural_noise("jackhammer", 6 * SECOND, np.random.default_rng(seed))
        envelope = np.abs(clip).reshape(-1, 80).mean(1)  # 200 Hz
        spectrum = np.abs(np.fft.rfft(envelope - envelope.mean()))
        hz = np.fft.rfftfreq(len(envelope), 1 / 200)
        strongest = hz[(hz > 5) & (hz < 40)][np.argmax(spectrum[(hz > 5) & (hz < 40)])]
        assert 11 < strongest < 31


def test_clips_are_listed_with_every_family_in_every_fold(tmp_path: Path) -> None:
    recordings, notes = prepare_procedural_noise(tmp_path, clips=5)
    validate(recordings)
    assert (len(recordings), notes) == (5 * len(FAMILIES), [])
    splits = split_by_fold(recordings, [1, 2, 3], [4], [5])
    names = {recording.id: recording.id.removeprefix("procedural-0-") for recording in splits["test"]}
    assert {name.rpartition("-")[0] for name in names.values()} == set(FAMILIES)
    before = Path(recordings[0].path).stat().st_mtime_ns
    again, _ = prepare_procedural_noise(tmp_path, clips=6)
    assert again[: len(recordings)] == recordings
    assert Path(recordings[0].path).stat().st_mtime_ns == before, "what is there is not made again"
    with pytest.raises(DataError, match="0 clips"):
        prepare_procedural_noise(tmp_path, clips=0)


def test_its_clips_go_with_those_of_other_seeds_and_of_synthetic_corpora(tmp_path: Path) -> None:
    clips = [recording for seed in (0, 1) for recording in prepare_procedural_noise(tmp_path, clips=1, seed=seed)[0]]
    of_synthetic = [replace(clips[0], id=f"{family}-1") for family in FAMILIES]  # as synthetic/noise.jsonl names them
    validate([*clips, *of_synthetic])
