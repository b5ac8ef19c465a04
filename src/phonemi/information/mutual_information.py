"""Features `[slot, frame, dim]` and phone labels `[frame]` -> bits of mutual information (MI), by layer and SNR.

The bound of Liu et al. (2024), eq. (1) of the main paper: a probe q trained to tell the label Y from the
representation Z gives I(Z; Y) >= H(Y) - CE, where CE = E[-log q(y | z)] is its cross-entropy on frames it was not
trained on. Both terms come from the same test frames, pooled over utterances. The bound is never above H(Y), and it
may be negative (a probe that is confident and wrong, in heavy noise): it is stored as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from scipy.special import entr
from torch import Tensor

from phonemi.constants import IGNORE
from phonemi.errors import DataError
from phonemi.metrics.statistics import FEWEST_CLUSTERS
from phonemi.probes.layer_probes import LayerProbes

TOLD_EVERY = 10  # batches
Progress = Callable[[int, int, float], None]


class ProbeData(NamedTuple):
    """Frames to train probes on."""

    features: Tensor  # [slot, frame, dim], float16, bfloat16 or float32
    labels: Tensor  # [frame], int64, IGNORE where the phone is unknown


class EvaluationSet(NamedTuple):
    """Frames to judge probes on, with the utterance and the speaker of each frame (numbers or names, `[frame]`).

    Sets that share their features share the work: each frame is judged once, whatever sets it is in.
    """

    features: Tensor  # [slot, frame, dim]
    labels: Tensor  # [frame]
    utterances: ArrayLike
    speakers: ArrayLike | None = None
    frames: ArrayLike | None = None  # which of them, indices; all if None


@dataclass(frozen=True, slots=True)
class MutualInformation:
    """A lower bound on I(Z; Y) and what it was computed from. `mi_bits_low` and `_high`: 95 % bootstrap interval."""

    mi_bits: float
    mi_nats: float
    entropy_bits: float
    cross_entropy_bits: float
    accuracy: float  # share of frames whose most probable label is right, 0 to 1
    frames: int
    utterances: int
    mi_bits_low: float
    mi_bits_high: float

    def as_row(self) -> dict[str, float | int]:
        """The fields by name, for a table or JSON."""
        return asdict(self)


def bits(nats: float) -> float:
    """Nats -> bits.

    >>> bits(math.log(8))
    3.0
    """
    return nats / math.log(2)


def entropy_nats(labels: ArrayLike, classes: int) -> float:
    """Entropy of the empirical distribution of `labels`, frames marked IGNORE left out; 0 to log(classes).

    >>> round(bits(entropy_nats([0, 1, 2, 3, IGNORE], classes=40)), 6)
    2.0

    Raises:
        DataError: if no frame has a label, or a label is not in 0 to classes - 1.
    """
    labels = np.asarray(labels)
    counts = np.bincount(labels[_labelled(labels, classes)], minlength=classes)
    return float(entr(counts / counts.sum()).sum())


def lower_bound(
    cross_entropy_nats: ArrayLike,
    labels: ArrayLike,
    utterance: ArrayLike,
    correct: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    seed: int,
    resamples: int = 1000,
) -> MutualInformation:
    """H(Y) - CE over all frames that have a label, with an interval.

    Neighbouring frames are far from independent, so the bootstrap draws whole utterances with replacement and computes
    both terms anew from them. The same seed draws the same utterances: intervals of different layers compare.

    Args:
        cross_entropy_nats: -log q(y | z) of each frame, `[frame]`.
        labels: `[frame]`, IGNORE to leave a frame out of both terms.
        utterance: utterance of each frame, `[frame]`, numbers or names.
        correct: whether the most probable label was right, `[frame]`.
        clusters: draw these (the speaker of each frame, `[frame]`) instead of utterances.
        seed: of the bootstrap.
        resamples: draws of the bootstrap.

    Returns:
        The bound; the ends of its interval are NaN if there is only one utterance (or cluster) to draw from.

    Raises:
        DataError: if no frame has a label, or the cross-entropy is not finite.
    """
    all_labels = np.asarray(labels)
    kept = _labelled(all_labels)
    known, utterances = all_labels[kept], np.asarray(utterance)[kept]
    losses = np.asarray(cross_entropy_nats)[kept].astype(np.float64)
    if not np.isfinite(losses).all():
        raise DataError(f"cross-entropy of {np.count_nonzero(~np.isfinite(losses))} frames of {len(losses)} not finite")
    entropy, loss = entropy_nats(known, int(known.max()) + 1), float(losses.mean())
    groups = utterances if clusters is None else np.asarray(clusters)[kept]
    low, high = np.quantile(_bootstrap_nats(losses, known, groups, seed, resamples), (0.025, 0.975))
    return MutualInformation(
        mi_bits=bits(entropy - loss),
        mi_nats=entropy - loss,
        entropy_bits=bits(entropy),
        cross_entropy_bits=bits(loss),
        accuracy=float(np.asarray(correct)[kept].mean()),
        frames=len(known),
        utterances=len(np.unique(utterances)),
        mi_bits_low=bits(float(low)),
        mi_bits_high=bits(float(high)),
    )


def train_probes(
    frames: ProbeData,
    *,
    classes: int,
    generator: torch.Generator,
    hidden: int = 512,
    depth: int = 3,
    dropout: float = 0.1,
    epochs: int = 15,
    batch_frames: int = 4096,
    learning_rate: float = 1e-3,
    device: str | torch.device = "cpu",
    bf16: bool = False,
    progress: Progress | None = None,
) -> LayerProbes:
    """Train one probe per slot, all on the same shuffled batches of frames, with Adam and no early stop.

    The loss is the sum over slots of each slot's mean cross-entropy, so the probes do not influence each other.
    They come back on `device`, in evaluation mode.

    Args:
        frames: what to train on; may stay in half precision in memory, batches are moved to `device`.
        classes: number of labels, 40 for phones.
        generator: (CPU) decides initial weights, order and dropout; the global one is left as it was.
        hidden, depth, dropout: see `LayerProbes`; epochs, learning_rate: 15 and 0.001 as in sec. 2.2 of the paper.
        batch_frames: most frames per step; an epoch is cut into batches of equal size, give or take one frame.
        device: where to train.
        bf16: products in bfloat16 by autocast; weights, loss and optimiser stay in float32.
        progress: called now and then with (batches done, batches in all, mean cross-entropy in nats).

    Raises:
        DataError: if no frame has a label, or a label is not in 0 to classes - 1.
    """
    device = torch.device(device)
    kept = torch.from_numpy(np.flatnonzero(_labelled(frames.labels.cpu().numpy(), classes)))
    slots, _, dim = frames.features.shape
    batches = math.ceil(len(kept) / batch_frames)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Dropout can only draw from the global generator, so that one is seeded here and put back afterwards.
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        probes = LayerProbes(slots, dim, classes, hidden=hidden, depth=depth, dropout=dropout).to(device).train()
        optimiser = torch.optim.Adam(probes.parameters(), lr=learning_rate, fused=True)
        for epoch in range(epochs):
            order = kept[torch.randperm(len(kept), generator=generator)]
            for batch, chosen in enumerate(order.tensor_split(batches), start=1):
                loss = _train_batch(probes, optimiser, *_batch(*frames, chosen, device, bf16))
                done = epoch * batches + batch
                if progress is not None and (done % TOLD_EVERY == 0 or done == epochs * batches):
                    progress(done, epochs * batches, loss.item() / slots)  # waits for the device
    return probes.eval()


@torch.inference_mode()
def evaluate_probes(
    probes: LayerProbes, features: Tensor, labels: Tensor, *, batch_frames: int = 16_384
) -> tuple[Tensor, Tensor]:
    """What each probe makes of each frame, in float32, a chunk of frames at a time.

    Args:
        probes: trained probes, used on the device where they are.
        features: `[slot, frame, dim]`.
        labels: `[frame]`.
        batch_frames: frames per chunk; does not change the result.

    Returns:
        Cross-entropy in nats and whether the most probable label is right: `[slot, frame]` both, on the CPU;
        0 and False for frames marked IGNORE.
    """
    device = next(probes.parameters()).device
    losses, correct = [], []
    for chosen in torch.arange(len(labels)).split(batch_frames):
        part, wanted = _batch(features, labels, chosen, device, bf16=False)
        logits = probes(part)
        losses.append(_cross_entropy(logits, wanted).cpu())
        correct.append((logits.argmax(-1) == wanted).cpu())
    return torch.cat(losses, 1), torch.cat(correct, 1)


def measure(
    train_features: Tensor,
    train_labels: Tensor,
    test_sets: Mapping[float, EvaluationSet | tuple],
    *,
    classes: int,
    seed: int,
    resamples: int = 1000,
    **training: Any,
) -> list[dict[str, Any]]:
    """MI of every slot at every SNR: train the probes once, then judge them on each test set.

    Args:
        train_features: `[slot, frame, dim]`.
        train_labels: `[frame]`.
        test_sets: SNR in dB -> (features, labels, utterances, speakers, frames); with speakers, of whom there are
            `FEWEST_CLUSTERS` or more, the interval is over them.
        classes: number of labels.
        seed: of the probes and of the bootstrap.
        resamples: draws of the bootstrap.
        training: further arguments of `train_probes`.

    Returns:
        One row `{"slot": ..., "snr_db": ..., **MutualInformation.as_row()}` per SNR and slot.
    """
    generator = torch.Generator().manual_seed(seed)
    probes = train_probes(ProbeData(train_features, train_labels), classes=classes, generator=generator, **training)
    rows: list[dict[str, Any]] = []
    judged: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for snr_db, test_set in test_sets.items():
        one = EvaluationSet(*test_set)
        if id(one.features) not in judged:
            losses, correct = evaluate_probes(probes, one.features, one.labels)
            judged[id(one.features)] = losses.numpy(), correct.numpy()
        frames, labels, utterances, clusters = _numbered(one)
        for slot, (loss, right) in enumerate(zip(*judged[id(one.features)], strict=True)):
            bound = lower_bound(
                loss[frames], labels, utterances, right[frames], clusters=clusters, seed=seed, resamples=resamples
            )
            rows.append({"slot": slot, "snr_db": snr_db, **bound.as_row()})
    return rows


def _numbered(one: EvaluationSet) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Its frames and their labels; names as numbers, once for all slots."""
    frames = np.arange(len(one.labels)) if one.frames is None else np.asarray(one.frames)
    utterances = np.unique(np.asarray(one.utterances)[frames], return_inverse=True)[1]
    clusters = None
    if one.speakers is not None:
        names, numbers = np.unique(np.asarray(one.speakers)[frames], return_inverse=True)
        clusters = numbers if len(names) >= FEWEST_CLUSTERS else None
    return frames, np.asarray(one.labels)[frames], utterances, clusters


def _labelled(labels: np.ndarray, classes: int | None = None) -> np.ndarray:
    """True where a frame has a label, `[frame]`; DataError if none has, or a label is out of range."""
    kept = labels != IGNORE
    if not kept.any():
        raise DataError(f"none of {len(labels)} frames has a label: mutual information needs aligned phones")
    low, high = labels[kept].min(), labels[kept].max()
    if low < 0 or (classes is not None and high >= classes):
        raise DataError(f"labels go from {low} to {high}, expected 0 to {'...' if classes is None else classes - 1}")
    return kept


def _bootstrap_nats(
    losses: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int, resamples: int
) -> np.ndarray:
    """H(Y) - CE of `resamples` draws of groups, from what each group adds: its class counts and its sum of losses."""
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return np.full(1, np.nan)
    classes = int(labels.max()) + 1
    counts = np.bincount(group * classes + labels, minlength=len(names) * classes).reshape(len(names), classes)
    sums = np.bincount(group, weights=losses)
    even = np.full(len(names), 1 / len(names))
    draws = np.random.default_rng(seed).multinomial(len(names), even, size=resamples).astype(np.float64)
    drawn = draws @ counts  # [resample, class]
    frames = drawn.sum(1)
    return entr(drawn / frames[:, None]).sum(1) - draws @ sums / frames


def _batch(features: Tensor, labels: Tensor, chosen: Tensor, device: torch.device, bf16: bool) -> tuple[Tensor, Tensor]:
    chosen_there = chosen.to(features.device)
    if features.stride(0) < features.stride(1):
        # Hidden states lie frame by frame, all layers of each; picked along a strided axis they take 50 times as long.
        part = features.transpose(0, 1).index_select(0, chosen_there).transpose(0, 1)
    else:
        part = features.index_select(1, chosen_there)
    return (
        part.to(device, torch.bfloat16 if bf16 else torch.float32).contiguous(),
        labels[chosen.to(labels.device)].to(device),
    )


def _train_batch(probes: LayerProbes, optimiser: torch.optim.Optimizer, features: Tensor, labels: Tensor) -> Tensor:
    """One step; the loss before it, summed over slots. Products are in bfloat16 if the features are."""
    with torch.autocast(features.device.type, torch.bfloat16, enabled=features.dtype == torch.bfloat16):
        logits = probes(features)
    loss = _cross_entropy(logits, labels).mean(1).sum()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log q(label) of each frame, `[slot, frame]`, float32; 0 where the label is IGNORE, which torch skips too."""
    wanted = labels.expand(len(logits), -1)
    return F.cross_entropy(logits.flatten(0, 1).float(), wanted.flatten(), reduction="none").view_as(wanted)
