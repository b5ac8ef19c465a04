"""A lower bound on the mutual information (MI) of features and phones, in bits, with its interval.

A probe q is trained to predict the label Y from the features Z. Its cross-entropy on other frames bounds the MI from
below (Liu et al. 2024; Han et al. 2026, equation (1)):

    I(Z; Y) >= H(Y) - CE,    CE = E[-log q(y | z)]

Both terms are computed from the same test frames, pooled over utterances. The bound is at most H(Y). It may be
negative, when a probe is confident and wrong in heavy noise, and is reported as it is.

A frame whose phone is unknown has the label IGNORE, and counts for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr
from torch import Tensor

from phonemi.errors import DataError
from phonemi.probes.frames import Features, has_label
from phonemi.probes.layer_probes import evaluate_probes, train_probes

Key = TypeVar("Key", bound=Hashable)
Floats = NDArray[np.float64]


class EvaluationSet(NamedTuple):
    """Frames to evaluate probes on.

    Sets that share their features share the work: each frame is evaluated once, whatever sets it is in.
    """

    features: Features  # [slot, frame, dim] or hidden states
    labels: Tensor  # [frame], IGNORE where the phone is unknown
    utterances: ArrayLike  # utterance of each frame, numbers or names, [frame]
    speakers: ArrayLike | None = None  # speaker of each frame, [frame]
    frames: ArrayLike | None = None  # numbers of the frames that belong to the set; None: all


@dataclass(frozen=True, slots=True)
class MutualInformation:
    """A lower bound on I(Z; Y), and what it was computed from."""

    mi_bits: float
    mi_nats: float
    entropy_bits: float  # H(Y)
    cross_entropy_bits: float
    accuracy: float  # share of frames whose most probable label is right, 0 to 1
    frames: int
    utterances: int
    mi_bits_low: float  # ends of the 95 % bootstrap interval; NaN if there was only one utterance or speaker
    mi_bits_high: float


def bits(nats: float) -> float:
    """Convert nats to bits.

    >>> bits(math.log(8))
    3.0
    """
    return nats / math.log(2)


def entropy_nats(labels: ArrayLike, classes: int) -> float:
    """Entropy of the empirical distribution of `labels`, 0 to log(classes); IGNORE (-100) is left out.

    >>> round(bits(entropy_nats([0, 1, 2, 3, -100], classes=40)), 6)
    2.0

    Raises:
        DataError: if no frame has a label, or a label is not in 0 to classes - 1.
    """
    labels = np.asarray(labels)
    counts = np.bincount(labels[has_label(labels, classes)], minlength=classes)
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
    """Compute H(Y) - CE over all frames that have a label, with a bootstrap interval.

    Neighbouring frames are far from independent. The bootstrap therefore draws whole utterances with replacement, and
    computes both terms from what it drew. The same seed draws the same utterances, so that layers can be compared.

    Args:
        cross_entropy_nats: -log q(y | z), `[frame]`.
        labels: `[frame]`; IGNORE leaves a frame out of both terms.
        utterance: number or name of the utterance, `[frame]`.
        correct: whether the most probable label was right, `[frame]`.
        clusters: drawn instead of utterances, for example speakers, `[frame]`.
        seed, resamples: of the bootstrap.

    Raises:
        DataError: if no frame has a label, or the cross-entropy is not finite.
    """
    all_labels = np.asarray(labels)
    labelled = has_label(all_labels)
    targets, utterances = all_labels[labelled], np.asarray(utterance)[labelled]
    losses = np.asarray(cross_entropy_nats)[labelled].astype(np.float64)
    if not np.isfinite(losses).all():
        raise DataError(f"cross-entropy of {np.count_nonzero(~np.isfinite(losses))} frames of {len(losses)} not finite")
    entropy, loss = entropy_nats(targets, int(targets.max()) + 1), float(losses.mean())
    groups = utterances if clusters is None else np.asarray(clusters)[labelled]
    low, high = np.quantile(_bootstrap_nats(losses, targets, groups, seed, resamples), (0.025, 0.975))
    return MutualInformation(
        mi_bits=bits(entropy - loss),
        mi_nats=entropy - loss,
        entropy_bits=bits(entropy),
        cross_entropy_bits=bits(loss),
        accuracy=float(np.asarray(correct)[labelled].mean()),
        frames=len(targets),
        utterances=len(np.unique(utterances)),
        mi_bits_low=bits(float(low)),
        mi_bits_high=bits(float(high)),
    )


def measure(
    train_features: Features,
    train_labels: Tensor,
    test_sets: Mapping[Key, EvaluationSet],
    *,
    classes: int,
    seed: int,
    resamples: int = 1000,
    min_speakers: int = 2,
    **training: Any,
) -> dict[Key, list[MutualInformation]]:
    """Train a probe for every slot once, and compute the MI of every slot on each test set.

    Args:
        train_features: `[slot, frame, dim]`, or hidden states, of which each layer is a slot.
        train_labels: `[frame]`, of 0 to classes - 1 or IGNORE.
        test_sets: any key, such as the SNR in dB, to the frames to evaluate on.
        classes: number of labels.
        seed: of the probes and of the bootstrap.
        resamples: draws of the bootstrap.
        min_speakers: the bootstrap draws speakers where a set has at least this many, otherwise utterances.
        training: further arguments of `train_probes`.

    Raises:
        DataError: if no frame has a label, or a label is not in 0 to classes - 1.
    """
    generator = torch.Generator().manual_seed(seed)
    probes = train_probes(train_features, train_labels, classes=classes, generator=generator, **training)
    evaluated: dict[int, tuple[Tensor, Tensor]] = {}
    bounds: dict[Key, list[MutualInformation]] = {}
    for key, test_set in test_sets.items():
        if id(test_set.features) not in evaluated:
            evaluated[id(test_set.features)] = evaluate_probes(probes, test_set.features, test_set.labels)
        losses, correct = (values.numpy() for values in evaluated[id(test_set.features)])
        labels = np.asarray(test_set.labels)
        frames = np.arange(len(labels)) if test_set.frames is None else np.asarray(test_set.frames)
        # Names become numbers here, once for all slots.
        utterances = np.unique(np.asarray(test_set.utterances)[frames], return_inverse=True)[1]
        speakers = None
        if test_set.speakers is not None:
            names, numbers = np.unique(np.asarray(test_set.speakers)[frames], return_inverse=True)
            speakers = numbers if len(names) >= min_speakers else None
        bounds[key] = [
            lower_bound(
                losses[slot, frames],
                labels[frames],
                utterances,
                correct[slot, frames],
                clusters=speakers,
                seed=seed,
                resamples=resamples,
            )
            for slot in range(len(losses))
        ]
    return bounds


def _bootstrap_nats(
    losses: Floats, labels: NDArray[np.int64], groups: NDArray[Any], seed: int, resamples: int
) -> Floats:
    """Compute H(Y) - CE of `resamples` draws of groups, `[resample]`; one NaN if there are fewer than two groups."""
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return np.full(1, np.nan)
    # All that a group adds to the two terms is its count of each class and its sum of losses, so that a draw of groups
    # is a vector of how often each was drawn, and all draws together are one product.
    classes = int(labels.max()) + 1
    counts = np.bincount(group * classes + labels, minlength=len(names) * classes).reshape(len(names), classes)
    sums = np.bincount(group, weights=losses)
    equal = np.full(len(names), 1 / len(names))
    draws = np.random.default_rng(seed).multinomial(len(names), equal, size=resamples).astype(np.float64)
    drawn_counts: Floats = draws @ counts  # [resample, class]
    frames = drawn_counts.sum(1)
    values: Floats = entr(drawn_counts / frames[:, None]).sum(1) - draws @ sums / frames
    return values
