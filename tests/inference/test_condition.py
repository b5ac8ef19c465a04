"""phonemi.inference.condition: each warning where it is due, none elsewhere, and pieces add up to the whole."""

from __future__ import annotations

import numpy as np
import pytest

from phonemi.inference.condition import CLEAN, CLIPPED, NARROW, TOLD, Condition, examine, is_clipped

RATE = 16_000


def noise(samples=2 * RATE, highest_hz=8000.0, seed=0):
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(0, 0.1, (1, samples)))
    spectrum[:, np.fft.rfftfreq(samples, 1 / RATE) > highest_hz] = 0
    return np.fft.irfft(spectrum, samples).astype(np.float32)


def noticed(noisy, enhanced=None, sample_rate=RATE):
    return examine(noisy, noisy, 0.5 * noisy if enhanced is None else enhanced, sample_rate).texts()


def test_nothing_is_said_of_a_usual_recording():
    assert noticed(noise()) == []
    assert Condition().texts() == []


@pytest.mark.parametrize(("taken", "said"), [(0.0, [CLEAN]), (0.03, [CLEAN]), (0.033, []), (1.0, [])])
def test_clean_is_where_nothing_was_taken_off(taken, said):
    noisy = noise()
    assert noticed(noisy, (1 - np.float32(taken)) * noisy) == said


def test_what_is_left_for_a_recogniser_is_not_called_clean():
    recording = noise()
    condition = examine(recording, recording, recording, RATE, mixes_back=True)
    assert (condition + condition).texts() == [TOLD]
    assert examine(recording, recording, 0.5 * recording, RATE, mixes_back=True).texts() == []


def test_narrow_band_is_a_matter_of_what_the_rate_has_room_for():
    telephone = noise(highest_hz=3900)
    assert noticed(telephone) == [NARROW]
    assert noticed(telephone, sample_rate=8000) == []
    assert noticed(telephone + 0.01 * noise(seed=1)) == []  # a faint hiss above
    assert noticed(noise(highest_hz=5000)) == []


def test_little_sound_tells_nothing_of_spectrum_and_noise():
    short = noise(RATE - 1, 3900)
    assert noticed(short, short) == []
    condition = examine(short, short, short, RATE)
    assert (condition + condition).texts() == [NARROW, CLEAN]


def test_pieces_are_judged_together():
    pieces = [(noise(seed=1), 1.0), (noise(highest_hz=3900), 0.0)]
    condition = Condition()
    for piece, taken in pieces:
        condition += examine(piece, piece, (1 - np.float32(taken)) * piece, RATE)
    assert condition.texts() == []
    clipped = noise().clip(-0.1, 0.1)
    assert (condition + examine(clipped, clipped, 0 * clipped, RATE)).texts() == [CLIPPED]


@pytest.mark.parametrize(("low", "high"), [(-0.2, 0.2), (-1, 0.15), (-0.15, 1), (-0.02, 0.02)])
def test_clipped(low, high):
    assert is_clipped(noise()[0].clip(low, high))


@pytest.mark.parametrize("scale", [1.0, 2e-3])
def test_sixteen_bits_are_not_clipping(scale):
    assert not is_clipped(np.round(scale * noise()[0] * 32_768) / 32_768)
    assert not is_clipped(np.zeros(100))
    assert not is_clipped(np.array([0.5]))
