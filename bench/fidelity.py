"""What the paper leaves open -> how much each choice changes, on speech with phones; see docs/fidelity.md.

    python bench/fidelity.py [MANIFEST]        (synthetic speech when no manifest is named)

Weights of the encoder are random, of the size of HuBERT Base but for two blocks: what is measured there are the
convolutions, which see the padding, and the first blocks behind them.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from phonemi import Enhancer
from phonemi.data.alignment import IGNORE, frame_labels, inventory
from phonemi.data.corpora.synthetic import synthesise
from phonemi.data.manifest import Recording, read_manifest
from phonemi.data.mixing import mix_at_snr
from phonemi.data.store import AudioStore
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.information.mutual_information import bits, entropy_nats
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.signal import SAMPLE_RATE, ssl_frames

UTTERANCES = 8  # of those that are transformed; labels are counted in all
SNR_DB = 5.0


def labels(recordings: list[Recording]) -> None:
    """Where a frame takes its phone, and what its entropy is made of."""

    def all_frames(**choice) -> np.ndarray:
        frames = [ssl_frames(round(one.duration_s * SAMPLE_RATE)) for one in recordings]
        found = [frame_labels(one.phones, count, **choice) for one, count in zip(recordings, frames, strict=True)]
        return np.concatenate(found)

    centre, start = all_frames(), all_frames(at="start")
    print(f"labels: {len(centre)} frames, {100 * np.mean(centre == 0):.1f} % silence")
    print(f"  label_at start instead of centre: {100 * np.mean(centre != start):.1f} % have another label")
    choices = [("as it is", {}), ("without silence", {"silence": False})]
    if any(phone[-1:].isdigit() for one in recordings for *_, phone in one.phones):
        choices.append(("with stress", {"stress": True}))
    for name, choice in choices:
        found = all_frames(**choice)
        entropy = entropy_nats(found, len(inventory(choice.get("stress", False))))
        used = len(np.unique(found[found != IGNORE]))
        print(f"  H(Y) {name}: {bits(entropy):.2f} bits, {entropy:.2f} nats; {used} classes occur")


def noisy_and_clean(recordings: list[Recording]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Utterances in white noise, [1, sample] each."""
    store, random = AudioStore(recordings[:UTTERANCES]), np.random.default_rng(0)
    pairs = []
    for index in range(len(store)):
        clean = store[index]
        noisy, _ = mix_at_snr(clean, random.standard_normal(len(clean)), SNR_DB)
        pairs.append((torch.from_numpy(noisy)[None], torch.from_numpy(np.asarray(clean, np.float32))[None]))
    return pairs


def power_db(part: torch.Tensor, whole: torch.Tensor) -> float:
    """Energy of `part` beside that of `whole`."""
    return 10 * math.log10(float(part.square().sum() / whole.square().sum()))


@torch.inference_mode()
def stft_pad(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """The shipped enhancer with either padding of the STFT, which it was not trained with."""
    enhancer = Enhancer.from_pretrained("default")
    mask_enhancer, losses, signals = enhancer.mask_enhancer, {}, {}
    fused = [enhancer.fuse(noisy) for noisy, _ in pairs]
    for pad in ("zeros", "reflect"):
        mask_enhancer.stft_pad = pad
        given = list(zip(pairs, fused, strict=True))
        losses[pad] = sum(mask_enhancer.loss(noisy, clean, features) for (noisy, clean), features in given)
        signals[pad] = [mask_enhancer.enhance(noisy, features)[0] for (noisy, _), features in given]
    change = float(losses["reflect"] / losses["zeros"] - 1)
    both = list(zip(signals["zeros"], signals["reflect"], strict=True))
    whole = power_db(torch.cat([b - a for a, b in both]), torch.cat([a for a, _ in both]))
    ends = [torch.cat([torch.cat([x[:400], x[-400:]]) for x in one]) for one in zip(*both, strict=True)]
    print(f"stft_pad reflect instead of zeros, {len(pairs)} utterances in white noise at {SNR_DB:g} dB:")
    print(f"  loss {100 * change:+.2f} %; what changes is {whole:.0f} dB beside the enhanced signal", end=", ")
    print(f"{power_db(ends[1] - ends[0], ends[0]):.0f} dB in the first and last 25 ms")


@torch.inference_mode()
def encoder(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Padding beside longer items, and normalisation of the waveform, in a front-end that normalises by group."""
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(0)
    model = HubertModel(HubertConfig(num_hidden_layers=2)).eval()
    plain = HuggingFaceRepresentation(model, "random")
    speech = next(noisy for noisy, _ in pairs if noisy.shape[1] >= 24_000)[:, :24_000]
    alone = plain(speech).states

    def change(states: torch.Tensor) -> str:
        off = (states[:, :, : alone.shape[2]] - alone).flatten(1).norm(dim=1) / alone.flatten(1).norm(dim=1)
        return ", ".join(f"{100 * value:.3g} %" for value in off)

    print("encoder (random weights), change of states 0, 1 and 2:")
    for longer in (28_000, 40_000, 64_000):
        items = torch.cat([torch.nn.functional.pad(speech, (0, longer - 24_000)), torch.randn(1, longer) * 0.1])
        states = plain.padded(items, torch.tensor([24_000, longer])).states[:, :1]
        print(f"  encoder_padding batch, 1.5 s beside {longer / SAMPLE_RATE:g} s: {change(states)}")
    for level_db in (-20, -40):
        at_level = speech * 10 ** (level_db / 20) / speech.square().mean().sqrt()
        alone = plain(at_level).states
        states = HuggingFaceRepresentation(model, "random", normalise=True)(at_level).states
        print(f"  normalise_waveform true, speech at {level_db} dB: {change(states)}")


def first_update(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Weights whose update depends on where AdamW's eps joins, in the mask model of the recipe.

    The running mean of squares is taken as that of one gradient, the first.
    """
    torch.manual_seed(0)
    model = MaskEnhancer(768)
    noisy, clean = (part[:, :24_000] for part in pairs[0])
    model.loss(noisy, clean, torch.randn(1, ssl_frames(noisy.shape[1]), 768)).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).abs()
    shares = []
    for step in (1, 10, 100, 1000):
        theirs = 1e-7 / math.sqrt(1 - 0.999**step)
        smaller = (gradient + 1e-7) / (gradient + theirs) < 0.9
        shares.append(f"{100 * smaller.float().mean():.1f} %")
    print(f"eps_before_correction: a tenth smaller updates 1, 10, 100 and 1000 for {', '.join(shares)} of the weights")


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        manifest = sys.argv[1] if len(sys.argv) > 1 else synthesise(Path(folder), utterances=24, speakers=4, seed=0)[0]
        recordings = [one for one in read_manifest(manifest) if one.phones]
        print(f"{len(recordings)} recordings with phones, torch {torch.__version__}")
        labels(recordings)
        pairs = noisy_and_clean(recordings)
    stft_pad(pairs)
    encoder(pairs)
    first_update(pairs)


if __name__ == "__main__":
    main()
