"""Spectrograms of recordings before and after enhancement: one figure with what was done, and small PNG files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from phonemi import signal
from phonemi.report.figure_style import THEME, figure_style
from phonemi.report.plots import add_scale, heat, heat_of_layers, panels_over_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Waveform = NDArray[np.floating[Any]]

RANGE_DB = 70.0  # range of a spectrogram, down from its loudest bin
MAX_COLUMNS = 1000  # points in time; a screen shows no more
THUMBNAIL_COLUMNS, THUMBNAIL_ROWS = 360, 96
_COLOURS = "magma"
_SINE_DB = 40.0  # power of a sine at full scale in its bin: (200 / 2)^2, since the window sums to 200


def spectrogram_db(waveform: Waveform, columns: int = MAX_COLUMNS) -> NDArray[np.float64]:
    """Power of `[sample]` at 16 kHz in dB re a sine at full scale, `[257, column]`; -200 for silence.

    Each column is the mean power of its frames, so that no click is lost; `columns` is how many there are at most.

    >>> sine = np.sin(2 * np.pi * 1000 / 16_000 * np.arange(16_000))
    >>> bool(abs(spectrogram_db(sine)[32, 50]) < 0.1), spectrogram_db(sine, 10).shape
    (True, (257, 10))
    """
    power = signal.stft(torch.from_numpy(np.asarray(waveform, np.float32))[None])[0].abs().double().square().numpy()
    groups = np.array_split(power, min(columns, len(power)))
    pooled = np.stack([group.mean(axis=0) for group in groups], axis=1)
    return np.asarray(10 * np.log10(pooled + 1e-16) - _SINE_DB)


def scale_db(*spectrograms: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of one colour scale for several spectrograms: `RANGE_DB` below their loudest bin, and that bin."""
    top = max(float(spectrogram.max()) for spectrogram in spectrograms)
    return top - RANGE_DB, top


@figure_style()
def recording_view(
    before: Waveform,
    after: Waveform,
    local_snr_db: NDArray[np.floating[Any]],
    layer_weights: NDArray[np.floating[Any]] | None = None,
    frame_s: float = 0.02,
) -> Figure:
    """A recording before and after enhancement, the estimated SNR and the layer weights, on one time axis.

    Args:
        before, after: `[sample]` at 16 kHz, equally long.
        local_snr_db: estimate for each STFT frame, `[frame]`; NaN where there is none.
        layer_weights: `[frame, layer]`; None where there are no layers.
        frame_s: seconds from one frame of the layers to the next.
    """
    figure, panels = panels_over_time([1.5, 1.5, 0.9, *([1.5] if layer_weights is not None else [])], 1.25)
    end_s = len(before) / signal.SAMPLE_RATE
    spectrograms = [spectrogram_db(before), spectrogram_db(after)]
    low, high = scale_db(*spectrograms)
    for axes, title, spectrogram in zip(panels, ("Before", "After"), spectrograms, strict=False):
        image = heat(axes, spectrogram, (0, end_s, 0, signal.SAMPLE_RATE / 2000), _COLOURS)
        image.set_clim(low, high)
        axes.set(title=title, ylabel="kHz", yticks=range(0, 9, 2))
    add_scale(image, panels[:2], "dB re full scale")

    times_s = np.arange(len(local_snr_db)) * signal.HOP / signal.SAMPLE_RATE
    panels[2].axhline(0, color=THEME["muted"], linewidth=0.8)
    panels[2].plot(times_s, local_snr_db, color=THEME["linguistic"], linewidth=1.4)
    panels[2].set(title="Local SNR, estimated from the mask: energy kept against energy removed", ylabel="dB")
    panels[2].set(ylim=(-32, 32), yticks=range(-30, 31, 15))
    if layer_weights is not None:
        # Frame t of the encoder starts at t * frame_s and is 25 ms long; its cell, frame_s wide, has the same centre.
        start_s = 0.5 * signal.SSL_FIELD / signal.SAMPLE_RATE - 0.5 * frame_s
        image = heat_of_layers(panels[3], layer_weights, start_s, frame_s, float(layer_weights.max()))
        is_dynamic = bool((np.ptp(layer_weights, axis=0) > 1e-6).any())
        panels[3].set_title(
            f"Layers that the model listens to{'' if is_dynamic else ': the same share in every frame'}"
        )
        add_scale(image, panels[3], "share")
    panels[-1].set(xlabel="Time (s)", xlim=(0, end_s))
    return figure


def thumbnails(waveforms: dict[str, Waveform]) -> dict[str, bytes]:
    """Small spectrograms without axes, 0 to 8 kHz: `[sample]` at 16 kHz each -> PNG files with one colour scale."""
    from matplotlib.image import imsave

    spectrograms = {name: spectrogram_db(waveform, THUMBNAIL_COLUMNS) for name, waveform in waveforms.items()}
    low, high = scale_db(*spectrograms.values())
    files = {}
    for name, spectrogram in spectrograms.items():
        rows = np.stack([bins.mean(axis=0) for bins in np.array_split(spectrogram, THUMBNAIL_ROWS)])
        with io.BytesIO() as file:
            imsave(file, rows, vmin=low, vmax=high, cmap=_COLOURS, origin="lower", format="png")
            files[name] = file.getvalue()
    return files
