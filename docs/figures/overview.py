"""Draw docs/figures/overview.png, the picture of the README; run it in the root of a checkout.

Left: synthetic speech in synthetic rain at 5 dB, before and after `Enhancer.from_pretrained("default")`. Right: the
mutual information by layer and SNR, read from the table of figure 1 in docs/results.md.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from phonemi import Enhancer, audio, mix_at_snr, read_manifest
from phonemi.data.corpora.synthetic import synthesise

FOLDER = Path(__file__).parent
SAMPLE_RATE = 16_000
DURATION_S = 3.0
SNR_DB = 5.0
NOISE = "rain"
SNRS_DB = (-10, -5, 0, 5, 10, 15, 20)


def noisy_speech() -> np.ndarray:
    """Three seconds of synthetic speech in synthetic noise, `[sample]`."""
    samples = round(DURATION_S * SAMPLE_RATE)
    with tempfile.TemporaryDirectory() as folder:
        synthesise(folder, utterances=12, seed=3)
        speech = max(read_manifest(Path(folder) / "speech.jsonl"), key=lambda recording: recording.samples)
        noise = next(clip for clip in read_manifest(Path(folder) / "noise.jsonl") if NOISE in clip.id)
        clean = np.resize(audio.load(speech.path, SAMPLE_RATE), samples)
        return mix_at_snr(clean, np.resize(audio.load(noise.path, SAMPLE_RATE), samples), SNR_DB)[0]


def bits_by_layer() -> dict[str, list[float]]:
    """Layer of `mini`, or log1p -> bits at each of `SNRS_DB`."""
    results = (FOLDER.parent / "results.md").read_text(encoding="utf-8")
    section = results.partition("\n## Figure 1")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?:mini )?(layer \d|log1p) \|(.+)\|$", section, re.M)
    return {name: [float(cell.split()[0]) for cell in cells.split("|")][: len(SNRS_DB)] for name, cells in rows}


def draw() -> None:
    """Write the picture."""
    noisy = noisy_speech()
    enhanced = Enhancer.from_pretrained("default").enhance(noisy, SAMPLE_RATE)
    bits = bits_by_layer()
    plt.rcParams |= {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    figure, axes = plt.subplot_mosaic("ac;bc", figsize=(10, 4.2), layout="constrained", width_ratios=(3, 2))
    for name, waveform, title in (("a", noisy, "noisy"), ("b", enhanced, "enhanced")):
        # One scale for both, so that what is removed looks removed.
        axes[name].specgram(waveform, NFFT=400, Fs=SAMPLE_RATE, noverlap=240, vmin=-120, vmax=-45, cmap="magma")
        axes[name].set(title=title, ylabel="kHz", yticks=[0, 4000, 8000], yticklabels=["0", "4", "8"])
    axes["a"].set_xticklabels([])
    axes["b"].set_xlabel("seconds")
    colours = plt.get_cmap("viridis")(np.linspace(0.05, 0.9, len(bits) - 1))
    for (name, values), colour in zip(bits.items(), [*colours, "0.5"], strict=True):
        style = "--" if name == "log1p" else "-"
        axes["c"].plot(SNRS_DB, values, style, color=colour, marker="o", markersize=3)
        if name in ("log1p", "layer 0", "layer 6"):
            label = "spectrum (log1p)" if name == "log1p" else name
            axes["c"].annotate(label, (20, values[-1]), (6, -3), textcoords="offset points", color=colour)
    axes["c"].set(title="phonetic information by layer (mini)", xlabel="SNR, dB", ylabel="bits", ylim=(0, None))
    axes["c"].set(xticks=SNRS_DB, xlim=(-11, 30))
    axes["c"].spines["bottom"].set_bounds(-11, 20)
    figure.savefig(FOLDER / "overview.png", dpi=110)
    with Image.open(FOLDER / "overview.png") as picture:
        picture.convert("RGB").quantize(128).save(FOLDER / "overview.png", optimize=True)


if __name__ == "__main__":
    draw()
