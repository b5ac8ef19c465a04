"""Spectrograms before and after enhancement, in one figure with what was done, and as PNG files without axes."""

from __future__ import annotations

import math
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from phonemi import signal
from phonemi.report.figure_style import NARROW_IN, THEME, axes_grid, figure_style
from phonemi.report.plots import add_scale, heat, heat_of_layers, panels_over_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Waveform = NDArray[np.floating[Any]]

RANGE_DB = 70.0  # range of a spectrogram, down from its loudest bin
VIEW_IN = 6.5  # width of the figure: its letters can be read on a telephone too
MAX_COLUMNS = 1000  # points in time; a screen shows no more
PICTURE_COLUMNS = 800
PICTURE_COLOURS = 64  # a step of about 1 dB; fewer colours make a smaller file
TICKS = 6  # at most, on the time axis of a picture
_COLOURS = "magma"
# The same colours at nine points of their scale, for pictures that need no matplotlib.
_MAGMA = bytes.fromhex("000004 1d1147 51127c 822681 b63679 e65164 fb8861 fec287 fcfdbf")
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
        layer_weights: `[frame, layer]`; None where there are no layers, or `layer_shares` shows them.
        frame_s: seconds from one frame of the layers to the next.
    """
    heights = [1.5, 1.5, 0.9, *([1.5] if layer_weights is not None else [])]
    figure, panels = panels_over_time(heights, 0.95, VIEW_IN)
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
    panels[2].set(title="Local SNR, estimated: energy kept against energy removed", ylabel="dB")
    panels[2].set(ylim=(-32, 32), yticks=range(-30, 31, 15))
    if layer_weights is not None:
        # Frame t of the encoder starts at t * frame_s and is 25 ms long; its cell, frame_s wide, has the same centre.
        start_s = 0.5 * signal.SSL_FIELD / signal.SAMPLE_RATE - 0.5 * frame_s
        image = heat_of_layers(panels[3], layer_weights, start_s, frame_s, float(layer_weights.max()))
        panels[3].set_title("Layers that the model listens to")
        add_scale(image, panels[3], "share")
    panels[-1].set(xlabel="Time (s)", xlim=(0, end_s))
    return figure


def are_static(layer_weights: NDArray[np.floating[Any]]) -> bool:
    """Whether layer weights `[frame, layer]` are the same in every frame, as those of a weighted sum are."""
    return not (np.ptp(layer_weights, axis=0) > 1e-6).any()


@figure_style()
def layer_shares(shares: NDArray[np.floating[Any]]) -> Figure:
    """The share of each layer, `[layer]`, as bars: for layer weights that are the same in every frame."""
    figure, ((axes,),) = axes_grid(NARROW_IN, 2.6)
    layers = len(shares)
    axes.bar(range(layers), shares, color=THEME["linguistic"])
    axes.axhline(1 / layers, color=THEME["ink"], linestyle=":", linewidth=1.2)
    title = "Layers that the model listens to, in every frame\n(dotted: equal shares)"
    axes.set(title=title, xlabel="Layer", ylabel="Share", xticks=range(0, layers, 1 if layers < 14 else 3))
    return figure


def pictures(waveforms: dict[str, Waveform]) -> dict[str, bytes]:
    """Spectrograms without axes, 0 to 8 kHz: `[sample]` at 16 kHz each -> PNG files that share time and colours."""
    samples = max(map(len, waveforms.values()))
    spectrograms = {
        name: spectrogram_db(np.pad(waveform, (0, samples - len(waveform))), PICTURE_COLUMNS)
        for name, waveform in waveforms.items()
    }
    low, high = scale_db(*spectrograms.values())
    files = {}
    for name, spectrogram in spectrograms.items():
        steps = np.round((PICTURE_COLOURS - 1) * (spectrogram - low) / (high - low)).clip(0, PICTURE_COLOURS - 1)
        files[name] = _png(steps[::-1].astype(np.uint8))
    return files


def time_ticks(duration_s: float) -> list[str]:
    """Seconds to write on an axis, at round numbers: at most `TICKS` of them, from 0 on.

    >>> time_ticks(4.9), time_ticks(0.5), time_ticks(60.0)
    (['0', '1', '2', '3', '4'], ['0', '0.1', '0.2', '0.3', '0.4', '0.5'], ['0', '20', '40', '60'])
    """
    if duration_s <= 0:
        return []
    scale = 10.0 ** math.floor(math.log10(duration_s))
    step = next(scale * factor for factor in (0.1, 0.2, 0.5, 1, 2, 5) if duration_s / (scale * factor) < TICKS)
    return [f"{step * tick:.6g}" for tick in range(int(duration_s / step + 1e-9) + 1)]


def _png(steps: NDArray[np.uint8]) -> bytes:
    """A PNG file of `[row, column]`, the first row on top; 0 is the darkest and `PICTURE_COLOURS` - 1 the brightest."""
    anchors = np.frombuffer(_MAGMA, np.uint8).reshape(-1, 3)
    places = np.linspace(0, len(anchors) - 1, PICTURE_COLOURS)
    palette = np.stack([np.interp(places, np.arange(len(anchors)), colour) for colour in anchors.T], axis=1)
    height, width = steps.shape
    lines = np.pad(steps, ((0, 0), (1, 0)))  # each line begins with the number of its filter: none
    header = struct.pack(">2I5B", width, height, 8, 3, 0, 0, 0)  # 8 bits a pixel, each a colour of the palette
    chunks = {b"IHDR": header, b"PLTE": palette.round().astype(np.uint8).tobytes()}
    chunks |= {b"IDAT": zlib.compress(lines.tobytes(), 9), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks.items()
    )
