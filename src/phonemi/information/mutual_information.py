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
from numpy.typing import ArrayLike
from scipy.special import entr
from torch import Tensor

from phonemi.errors import DataError
from phonemi.metrics.statistics import estimate
from phonemi.probes.frames import Features, has_label
from phonemi.probes.layer_probes import evaluate_probes, train_probes

Key = TypeVar("Key", bound=Hashable)


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
    mi_bits_low: float  # ends of the 95 % interval; NaN if there was only one utterance or speaker
    mi_bits_high: float
    cluster_bits: tuple[float, ...]  # what each speaker (or utterance) adds to the bound, which is the sum of these
    cluster_frames: tuple[int, ...]  # over the sum of those


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
) -> MutualInformation:
    """Compute H(Y) - CE over all frames that have a label, with a 95 % interval over utterances or clusters.

    The bound is a mean over frames, of the pointwise information log q(y | z) - log p(y), p being the distribution of
    the labels. Neighbouring frames are far from independent: what is summed first, and is one
    observation, is a whole utterance, or a speaker of `clusters` (`metrics.statistics.estimate`).

    Args:
        cross_entropy_nats: -log q(y | z), `[frame]`.
        labels: `[frame]`; IGNORE leaves a frame out of both terms.
        utterance: number or name of the utterance, `[frame]`.
        correct: whether the most probable label was right, `[frame]`.
        clusters: observations instead of utterances, for example speakers, `[frame]`.

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
    share = np.bincount(targets) / len(targets)
    pointwise_bits = (-np.log(share[targets]) - losses) / math.log(2)
    group = np.unique(utterances if clusters is None else np.asarray(clusters)[labelled], return_inverse=True)[1]
    sums, frames = np.bincount(group, weights=pointwise_bits), np.bincount(group)
    interval = estimate(sums, frames)
    return MutualInformation(
        mi_bits=bits(entropy - loss),
        mi_nats=entropy - loss,
        entropy_bits=bits(entropy),
        cross_entropy_bits=bits(loss),
        accuracy=float(np.asarray(correct)[labelled].mean()),
        frames=len(targets),
        utterances=len(np.unique(utterances)),
        mi_bits_low=interval.low,
        mi_bits_high=interval.high,
        cluster_bits=tuple(sums.tolist()),
        cluster_frames=tuple(frames.tolist()),
    )


def measure(
    train_features: Features,
    train_labels: Tensor,
    test_sets: Mapping[Key, EvaluationSet],
    *,
    classes: int,
    seed: int,
    min_speakers: int = 2,
    **training: Any,
) -> dict[Key, list[MutualInformation]]:
    """Train a probe for every slot once, and compute the MI of every slot on each test set.

    Args:
        train_features: `[slot, frame, dim]`, or hidden states, of which each layer is a slot.
        train_labels: `[frame]`, of 0 to classes - 1 or IGNORE.
        test_sets: any key, such as the SNR in dB, to the frames to evaluate on.
        classes: number of labels.
        seed: of the probes.
        min_speakers: intervals are over speakers where a set has at least this many, otherwise over utterances.
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
            lower_bound(losses[slot, frames], labels[frames], utterances, correct[slot, frames], clusters=speakers)
            for slot in range(len(losses))
        ]
    return bounds
