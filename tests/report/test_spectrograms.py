"""Spectrograms show what is there at its level, before and after on one scale; layers only where there are some."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from phonemi.report.figure_style import svg_text
from phonemi.report.spectrograms import RANGE_DB, THUMBNAIL_ROWS, recording_view, scale_db, spectrogram_db, thumbnails

RATE = 16_000


def sine(frequency_hz: float = 1000, level_db: float = 0, duration_s: float = 1) -> np.ndarray:
    time_s = np.arange(round(duration_s * RATE)) / RATE
    return (10 ** (level_db / 20) * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def test_a_sine_has_its_level_and_place() -> None:
    drawing = spectrogram_db(sine(2000, level_db=-30))
    assert drawing.shape == (257, 101)
    assert (drawing[:, 5:-5].argmax(axis=0) == 64).all()
    assert np.abs(drawing[64, 5:-5] + 30).max() < 0.1
    assert spectrogram_db(np.zeros(RATE)).max() == -200


def test_a_click_survives_pooling() -> None:
    waveform = np.zeros(60 * RATE, np.float32)
    waveform[30 * RATE] = 1
    drawing = spectrogram_db(waveform, columns=100)
    assert drawing.shape == (257, 100)
    assert 48 <= drawing.max(axis=0).argmax() <= 51
    assert drawing.max() > -70


def test_both_spectrograms_have_one_scale_and_layers_are_absent_without_any() -> None:
    before, after = sine(level_db=-10), sine(level_db=-40)
    figure = recording_view(before, after, np.zeros(101))
    images = [image for axes in figure.axes for image in axes.images if axes.get_title("left") in ("Before", "After")]
    assert len(images) == 2
    low, high = scale_db(spectrogram_db(before))
    assert {image.get_clim() for image in images} == {(low, high)}
    assert abs(high + 10) < 0.2
    assert high - low == RANGE_DB
    assert not [axes for axes in figure.axes if "Layers" in axes.get_title("left")]
    assert "estimated" in "".join(axes.get_title("left") for axes in figure.axes)


@pytest.mark.slow
def test_layers_say_whether_they_move() -> None:
    steady = np.tile([0.2, 0.3, 0.5], (49, 1))
    moving = np.random.default_rng(0).dirichlet(np.ones(3), 49)
    titles = []
    for weights in (steady, moving):
        figure = recording_view(sine(), sine(), np.full(101, np.nan), weights)
        [axes] = [axes for axes in figure.axes if axes.get_ylabel() == "Layer"]
        titles.append(axes.get_title("left"))
        np.testing.assert_array_equal(axes.images[0].get_array(), weights.T)
        # Frame t is centred at (320 t + 200) / 16000 s.
        assert np.allclose(axes.images[0].get_extent(), (0.0025, 0.0025 + 0.02 * 49, -0.5, 2.5))
    assert titles == [
        "Layers that the model listens to: the same share in every frame",
        "Layers that the model listens to",
    ]


@pytest.mark.slow
def test_a_figure_becomes_svg_text_with_its_words() -> None:
    text = svg_text(recording_view(sine(), sine(), np.zeros(101)))
    assert text.startswith("<?xml")
    assert "Before" in text
    assert len(text) < 1_000_000


def test_thumbnails_share_a_scale_and_have_high_frequencies_on_top() -> None:
    files = thumbnails({"noisy": sine(1000), "enhanced": sine(1000, level_db=-100)})
    before, after = (imread(io.BytesIO(files[name]))[..., :3].sum(-1) for name in ("noisy", "enhanced"))
    assert before.shape == after.shape == (THUMBNAIL_ROWS, 101)
    brightest = before[:, 50].argmax()
    assert abs(brightest - THUMBNAIL_ROWS * (1 - 1 / 8)) < 2
    assert np.ptp(after) == 0, "far below the loudest of both"
