"""Spectrograms show what is there at its level, before and after on one scale; layers only where there are some."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from phonemi.report.figure_style import svg_text
from phonemi.report.spectrograms import (
    PICTURE_COLOURS,
    RANGE_DB,
    TICKS,
    are_static,
    layer_shares,
    pictures,
    recording_view,
    scale_db,
    spectrogram_db,
    time_ticks,
)

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
def test_layers_that_move_are_drawn_over_time() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 49)
    assert not are_static(weights)
    figure = recording_view(sine(), sine(), np.full(101, np.nan), weights)
    [axes] = [axes for axes in figure.axes if axes.get_ylabel() == "Layer"]
    assert axes.get_title("left") == "Layers that the model listens to"
    np.testing.assert_array_equal(axes.images[0].get_array(), weights.T)
    # Frame t is centred at (320 t + 200) / 16000 s.
    assert np.allclose(axes.images[0].get_extent(), (0.0025, 0.0025 + 0.02 * 49, -0.5, 2.5))


def test_layers_that_stay_are_bars() -> None:
    weights = np.tile([0.2, 0.3, 0.5], (49, 1))
    assert are_static(weights)
    [axes] = layer_shares(weights[0]).axes
    assert [bar.get_height() for bar in axes.patches] == [0.2, 0.3, 0.5]
    assert not axes.images, "no map of one colour a line"


@pytest.mark.slow
def test_a_figure_becomes_svg_text_with_its_words() -> None:
    text = svg_text(recording_view(sine(), sine(), np.zeros(101)))
    assert text.startswith("<?xml")
    assert "Before" in text
    assert len(text) < 1_000_000


def test_pictures_share_a_scale_and_have_high_frequencies_on_top() -> None:
    files = pictures({"noisy": sine(1000), "enhanced": sine(1000, level_db=-100), "cut": sine(7000, duration_s=0.5)})
    before, after, cut = (imread(io.BytesIO(file))[..., :3].sum(-1) for file in files.values())
    assert before.shape == after.shape == cut.shape == (257, 101), "one scale of time too"
    assert before[:, 50].argmax() == 256 - 32
    assert cut[:, 20].argmax() == 256 - 224
    assert np.ptp(after) == np.ptp(cut[:, 60:]) == 0, "far below the loudest of all, and beyond the end"


def test_the_colours_of_pictures_are_those_of_the_figures() -> None:
    ramp = sine(duration_s=8) * np.logspace(-3.5, 0, 8 * RATE, dtype=np.float32)  # 70 dB
    file = imread(io.BytesIO(pictures({"ramp": ramp})["ramp"]))[256 - 32, :, :3]
    from matplotlib import colormaps

    levels = spectrogram_db(ramp, len(file))[32]
    expected = colormaps["magma"](((levels - levels.max()) / RANGE_DB + 1).clip(0, 1))[:, :3]
    assert np.abs(file - expected).max() < 0.06
    assert len(np.unique(file, axis=0)) > 0.9 * PICTURE_COLOURS


def test_seconds_on_an_axis_are_round_and_few() -> None:
    for duration_s in np.geomspace(0.01, 60, 200):
        ticks = [float(tick) for tick in time_ticks(duration_s)]
        assert 2 <= len(ticks) <= TICKS + 1
        assert ticks[0] == 0
        assert 0.6 * duration_s < ticks[-1] + ticks[1] <= 1.5001 * duration_s
