"""Augmentation: rooms decay as drawn and begin with the direct sound, bands end where drawn, off is off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi import audio
from phonemi.audio.codecs import CODECS, Codec, through_codec
from phonemi.config import Augment, load_config
from phonemi.data.augmentation import (
    EARLY_S,
    IMAGES_S,
    _images,
    augment,
    band_limit,
    draw_gain,
    reverberate,
    room_response,
)
from phonemi.data.mixing import generator, mix_at_snr
from phonemi.errors import ConfigError
from phonemi.stages.run import Run
from phonemi.stages.training_batches import enhancement_mixtures

RATE = 16_000
EVERYTHING = Augment(reverb_share=0.5, band_limit_share=0.5, clip_share=0.5, codec_share=0.5, gain_db=(-20, 10))


def _white(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def _chirp() -> np.ndarray:
    """A tone of level 0.3 that rises from 0.2 to 1.8 kHz in two seconds."""
    time_s = np.arange(2 * RATE) / RATE
    return (0.3 * np.sin(2 * np.pi * (200 + 400 * time_s) * time_s)).astype(np.float32)


def _decay_db(response: np.ndarray) -> np.ndarray:
    """Energy that is still to come, dB of the whole (Schroeder's backward integration)."""
    energy = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    return 10 * np.log10(energy / energy[0])


def _rt60_s(decay_db: np.ndarray, first: int, last: int) -> float:
    slope = np.polyfit(np.arange(first, last) / RATE, decay_db[first:last], 1)[0]
    return -60 / slope


# --- rooms


@pytest.mark.parametrize("rt60_s", [0.2, 0.3, 0.45, 0.6])
def test_a_room_decays_as_drawn(rt60_s: float) -> None:
    whole, tail = [], []
    for seed in range(20):
        decay_db = _decay_db(room_response(rt60_s, generator(seed)))
        below = [int(np.argmax(decay_db < level_db)) for level_db in (-5, -25)]  # what ISO 3382 calls T20
        whole.append(_rt60_s(decay_db, *below))
        first = round(IMAGES_S * RATE)
        tail.append(_rt60_s(decay_db, first, int(np.argmax(decay_db < decay_db[first] - 15))))
    assert np.median(tail) == pytest.approx(rt60_s, rel=0.05)
    np.testing.assert_allclose(tail, rt60_s, rtol=0.15)
    # Single reflections follow Eyring's formula on the average of rooms only, and decay slower in short times.
    assert np.median(whole) == pytest.approx(rt60_s, rel=0.15)
    np.testing.assert_allclose(whole, rt60_s, rtol=0.35)


@given(rt60_s=st.floats(0.05, 1.5), seed=st.integers(0, 999))
def test_the_direct_sound_comes_first(rt60_s: float, seed: int) -> None:
    response = room_response(rt60_s, generator(seed))
    assert response.dtype == np.float32
    assert response.shape == (max(round(rt60_s * RATE), round(IMAGES_S * RATE)),)
    assert np.isfinite(response).all()
    assert response[0] == 1
    np.testing.assert_array_equal(response, room_response(rt60_s, generator(seed)))


def test_rooms_differ() -> None:
    ratios_db = [-10 * np.log10(np.sum(room_response(0.4, generator(seed))[1:] ** 2)) for seed in range(30)]
    assert np.ptp(ratios_db) > 10, "direct to reverberant: near and far, small and large"


def test_reflections_of_a_room_known_on_paper() -> None:
    # Mouth and microphone 1 m apart in the middle of a 4 x 6 x 3 m room: the first images are those of floor and
    # ceiling, sqrt(1 + 9) m away, both at the same time, with one reflection.
    response = _images(np.array([4.0, 6, 3]), np.array([1.5, 3, 1.5]), np.array([2.5, 3, 1.5]), -0.5)
    floor = round((np.sqrt(10) - 1) / 343 * RATE)
    # Walls at the ends of the room: 1.5 m behind the mouth and as far behind the microphone, 4 m to go.
    ends = round((4 - 1) / 343 * RATE)
    assert response[0] == 1
    assert not response[1:floor].any()
    assert response[floor] == pytest.approx(2 * -0.5 / np.sqrt(10))
    assert not response[floor + 1 : ends].any()
    assert response[ends] == pytest.approx(2 * -0.5 / 4)


def test_the_tail_goes_on_where_the_reflections_end() -> None:
    joint, width = round(IMAGES_S * RATE), 320
    expected_db = 60 * (width / RATE) / 0.5
    steps_db = []
    for seed in range(40):
        response = room_response(0.5, generator(seed))
        before, after = response[joint - width : joint], response[joint : joint + width]
        steps_db.append(audio.level_db(before) - audio.level_db(after))
    np.testing.assert_allclose(steps_db, expected_db, atol=1.5)


def test_the_target_is_the_direct_sound_and_the_reflections_of_50_ms() -> None:
    response = room_response(0.5, generator(1))
    click = np.zeros(RATE, dtype=np.float32)
    click[1_000] = 0.5
    heard, target = reverberate(click, response)
    np.testing.assert_allclose(heard[1_000 : 1_000 + len(response)], 0.5 * response, atol=1e-6)
    assert np.abs(heard[:1_000]).max() < 1e-6
    early = round(EARLY_S * RATE)
    assert early == 800
    np.testing.assert_allclose(target[1_000 : 1_000 + early], 0.5 * response[:early], atol=1e-6)
    assert np.abs(target[1_000 + early :]).max() < 1e-6
    assert np.sum(target**2) == pytest.approx(0.25 * np.sum(response[:early] ** 2), rel=1e-4)


def test_a_dry_room_is_the_speech_itself() -> None:
    speech, response = _white(4_000), np.zeros(3_000, dtype=np.float32)
    response[0] = 1
    for made in reverberate(speech, response):
        np.testing.assert_allclose(made, speech, atol=1e-5)


# --- the whole


def test_the_snr_is_that_of_the_reverberant_speech() -> None:
    speech, noise = _white(RATE), _white(RATE, 1)
    for seed in range(5):
        noisy, _ = augment(
            speech, lambda heard: mix_at_snr(heard, noise, 5)[0], Augment(reverb_share=1), generator(seed)
        )
        heard, target = augment(speech, lambda heard: heard, Augment(reverb_share=1), generator(seed))
        assert audio.level_db(heard) - audio.level_db(noisy - heard) == pytest.approx(5, abs=0.01)
        # In time with the speech: nothing lines up better than no delay at all.
        spectrum = np.fft.rfft(target) * np.conj(np.fft.rfft(speech))
        assert np.abs(np.fft.irfft(spectrum)).argmax() == 0


@pytest.mark.parametrize("cutoff_hz", [500, 3_000, 5_000, 7_500])
def test_above_the_cutoff_nothing_is_left_of_either(cutoff_hz: float) -> None:
    limits = Augment(band_limit_share=1, band_limit_hz=(cutoff_hz, cutoff_hz))
    speech, noise = _white(RATE), _white(RATE, 1)
    hz = np.fft.rfftfreq(RATE, 1 / RATE)
    window = np.hanning(RATE)  # the crop's ends are edges, which a band-limited signal cannot have
    originals = speech + noise, speech
    for made, original in zip(augment(speech, lambda s: s + noise, limits, generator(0)), originals, strict=True):
        ratio = np.abs(np.fft.rfft(window * made)) ** 2, np.abs(np.fft.rfft(window * original)) ** 2
        above, below = hz > cutoff_hz + 200, hz < cutoff_hz - 200
        assert ratio[0][above].sum() < 1e-6 * ratio[1][above].sum()
        assert ratio[0][below].sum() == pytest.approx(ratio[1][below].sum(), rel=1e-3)


def test_a_band_limit_does_not_delay() -> None:
    time_s = np.arange(RATE) / RATE
    tones = np.stack([np.sin(2 * np.pi * 440 * time_s), np.sin(2 * np.pi * 6_000 * time_s)]).astype(np.float32)
    made = band_limit(tones, 3_000)
    np.testing.assert_allclose(made[0, 200:-200], tones[0, 200:-200], atol=1e-3)
    assert np.abs(made[1, 200:-200]).max() < 1e-3


def test_an_overload_clips_the_noisy_speech_alone() -> None:
    speech, rates = _white(RATE), []
    for seed in range(40):
        noisy, clean = augment(speech, lambda s: s + 1, Augment(clip_share=1), generator(seed))
        assert clean.tobytes() == speech.tobytes()
        rates.append(np.mean(np.abs(noisy) >= np.abs(noisy).max()))
        assert (noisy != speech + 1).mean() == pytest.approx(rates[-1], abs=2e-4)
    assert 0.0009 <= min(rates) < 0.004
    assert 0.026 < max(rates) <= 0.0305


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_change_the_noisy_speech_alone_and_not_its_time(codec: Codec) -> None:
    chirp = _chirp()
    coded = through_codec(chirp, codec, 0.95)
    assert coded.shape == chirp.shape
    spectrum = np.fft.rfft(coded, 2 * len(chirp)) * np.conj(np.fft.rfft(chirp, 2 * len(chirp)))
    assert np.abs(np.fft.irfft(spectrum)).argmax() in (0, 1, 2 * len(chirp) - 1)
    assert 0.8 < np.corrcoef(coded, chirp)[0, 1] < 1 - 1e-6


def test_codecs_are_drawn_and_levels_are_kept() -> None:
    speech = 10 * _chirp()  # beyond full scale
    made = [augment(speech, lambda s: s, Augment(codec_share=1), generator(seed)) for seed in range(12)]
    assert all(clean.tobytes() == speech.tobytes() for _, clean in made)
    assert len({noisy.tobytes() for noisy, _ in made}) > 8
    for noisy, _ in made:
        assert audio.level_db(noisy) == pytest.approx(audio.level_db(speech), abs=2)


def test_gains_are_those_of_the_range_and_alike() -> None:
    speech = _white(100)
    gains_db = []
    for seed in range(200):
        noisy, clean = augment(speech, lambda s: s + 1, Augment(gain_db=(-20, 10)), generator(seed))
        gains_db.append(audio.level_db(clean) - audio.level_db(speech))
        np.testing.assert_allclose(noisy / np.abs(clean).max(), (speech + 1) / np.abs(speech).max(), rtol=1e-4)
    assert -20 <= min(gains_db) < -18
    assert 8 < max(gains_db) <= 10


def test_gains_are_even_in_amplitude_or_in_db() -> None:
    """From 0 to 20 dB, that is 1 to 10: half of the amplitudes are below 5.5, half of the levels below 10 dB, 3.2."""
    for in_amplitude, median in ((True, 5.5), (False, 10**0.5)):
        settings = Augment(gain_db=(0, 20), gain_in_amplitude=in_amplitude)
        gains = [draw_gain(settings, generator(seed)) for seed in range(2000)]
        assert 1 <= min(gains) < 1.05
        assert 9.7 < max(gains) <= 10
        assert np.median(gains) == pytest.approx(median, rel=0.06)


def test_what_is_off_changes_nothing_and_takes_no_chance() -> None:
    assert not Augment()
    assert all((Augment(reverb_share=0.1), Augment(clip_share=0.1), Augment(codec_share=0.1), Augment(gain_db=(-3, 0))))
    speech, rng = _white(500), generator(0)
    noisy, clean = augment(speech, lambda s: s + 1, Augment(), rng)
    assert noisy.tobytes() == (speech + 1).tobytes()
    assert clean.tobytes() == speech.tobytes()
    assert rng.bit_generator.state == generator(0).bit_generator.state


@given(samples=st.integers(1, 6_000), seed=st.integers(0, 999))
def test_lengths_are_kept_and_chance_repeats(samples: int, seed: int) -> None:
    speech = _white(samples, seed)
    noisy, clean = augment(speech, lambda s: s + speech[::-1], EVERYTHING, generator(seed))
    assert noisy.dtype == clean.dtype == np.float32
    assert noisy.shape == clean.shape == (samples,)
    assert np.isfinite(noisy).all()
    assert np.isfinite(clean).all()
    again = augment(speech, lambda s: s + speech[::-1], EVERYTHING, generator(seed))
    assert (noisy.tobytes(), clean.tobytes()) == (again[0].tobytes(), again[1].tobytes())


# --- as configured


def test_the_configuration_refuses_what_cannot_be() -> None:
    for change, message in {
        "reverb_share=1.5": "enhance.augment.reverb_share: ",
        "rt60_s=[0.6, 0.1]": "enhance.augment.rt60_s: the lowest comes first",
        "rt60_s=[0.0, 0.1]": "enhance.augment.rt60_s.0: ",
        "band_limit_hz=[3000, 8000]": "enhance.augment.band_limit_hz.1: ",
        "gain_db=[3, -3]": "enhance.augment.gain_db: the lowest comes first",
        "gain=3": "did you mean 'gain_db'?",
    }.items():
        with pytest.raises(ConfigError) as error:
            load_config(None, [f"enhance.augment.{change}"])
        assert message in str(error.value)


@pytest.mark.slow
def test_a_run_augments_training_and_validation(corpus: Any, tmp_path: Path) -> None:
    changes = ["enhance.augment.gain_db=[6, 6]", "enhance.augment.reverb_share=0"]
    plain = Run(tmp_path / "plain", load_config(None, corpus.settings))
    louder = Run(tmp_path / "louder", load_config(None, [*corpus.settings, *changes]))
    for split in ("train", "validation"):
        before, after = (enhancement_mixtures(run.config.enhance, run.data, split)[0] for run in (plain, louder))
        assert (before.id, before.noise_id) == (after.id, after.noise_id)
        np.testing.assert_allclose(after.noisy, before.noisy * 10**0.3, rtol=1e-5)
