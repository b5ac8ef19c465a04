"""Mutual information where it is known on paper: noiseless, constant, binary symmetric channel, Gaussian mixture."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.stats import norm

from phonemi.constants import IGNORE
from phonemi.errors import DataError
from phonemi.information.mutual_information import EvaluationSet, bits, entropy_nats, lower_bound, measure
from phonemi.probes.frames import FrameStates

FLIP = 0.11


def binary_channels(frames: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A fair bit a frame, seen four ways `[slot, frame, 2]`: itself, not at all, flipped in 11 %, in Gaussian noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (frames,), generator=generator)
    flipped = labels ^ (torch.rand(frames, generator=generator) < FLIP)
    noisy = 2.0 * labels - 1 + torch.randn(frames, generator=generator)
    one_hot = torch.nn.functional.one_hot
    slots = [one_hot(labels, 2), torch.ones(frames, 2), one_hot(flipped, 2), noisy[:, None].expand(-1, 2)]
    return torch.stack([slot.float() for slot in slots]), labels


def gaussian_mixture_bits() -> float:
    """I(Z; Y) of Z = (2 Y - 1) + N(0, 1) with a fair bit Y: h(Z) - h(Z | Y)."""

    def minus_p_log_p(z: float) -> float:
        density = 0.5 * (norm.pdf(z - 1) + norm.pdf(z + 1))
        return -density * math.log2(density)

    return quad(minus_p_log_p, -9, 9)[0] - 0.5 * math.log2(2 * math.pi * math.e)


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "learning_rate"), [(1, 0.1), (3, 0.01)])
def test_probes_find_the_information_of_known_channels(depth, learning_rate):
    features, labels = binary_channels(20_000, seed=0)
    test_features, test_labels = binary_channels(40_000, seed=1)
    test_set = EvaluationSet(test_features, test_labels, np.arange(40_000) // 100)
    bounds = measure(
        features.half(), labels, {0.0: test_set}, classes=2, seed=3,
        depth=depth, hidden=16, epochs=6, batch_frames=500, learning_rate=learning_rate,
    )[0.0]  # fmt: skip
    flip_bits = 1 + FLIP * math.log2(FLIP) + (1 - FLIP) * math.log2(1 - FLIP)
    expected = [bounds[0].entropy_bits, 0.0, flip_bits, gaussian_mixture_bits()]
    assert bounds[0].mi_bits == pytest.approx(1.0, rel=0.01)
    for bound, value in zip(bounds, expected, strict=True):
        assert bound.mi_bits == pytest.approx(value, abs=0.02)
        assert bound.mi_bits_low <= bound.mi_bits <= bound.mi_bits_high
        assert bound.mi_bits <= bound.entropy_bits
        assert (bound.frames, bound.utterances) == (40_000, 400)
    assert bounds[2].accuracy == pytest.approx(1 - FLIP, abs=0.01)


@pytest.mark.slow
def test_one_hot_features_of_many_classes_carry_all_their_entropy():
    labels = torch.from_numpy(np.random.default_rng(0).geometric(0.2, 8000).clip(max=40) - 1)
    features = torch.nn.functional.one_hot(labels, 40)[None].float()
    (bound,) = measure(
        features, labels, {"all": EvaluationSet(features, labels, labels)}, classes=40, seed=0,
        hidden=64, epochs=12, batch_frames=250, learning_rate=3e-3, bf16=True,
    )["all"]  # fmt: skip
    assert bound.mi_bits == pytest.approx(bits(entropy_nats(labels, 40)), rel=0.01)


def test_entropy_of_known_distributions():
    assert bits(entropy_nats(np.arange(40), 40)) == pytest.approx(math.log2(40))
    assert entropy_nats([3, 3, IGNORE, 3], 40) == 0
    assert bits(entropy_nats([0, 0, 0, 1], 2)) == pytest.approx(0.811278, abs=1e-6)


def test_lower_bound_pools_frames_and_drops_unlabelled_ones_from_both_terms():
    labels = np.array([0, 1, 1, IGNORE, 1])
    losses = np.array([0.1, 0.2, 0.3, 1e9, 0.4])
    bound = lower_bound(losses, labels, [0, 0, 0, 0, 1], [True, True, False, True, True])
    assert bound.mi_nats == pytest.approx(entropy_nats([0, 1, 1, 1], 2) - 0.25)
    assert bound.mi_bits == pytest.approx(bound.mi_nats / math.log(2))
    assert bound.mi_bits == pytest.approx(bound.entropy_bits - bound.cross_entropy_bits)
    assert (bound.frames, bound.utterances, bound.accuracy) == (4, 2, 0.75)


def test_confident_mistakes_give_a_negative_bound_that_is_kept():
    bound = lower_bound(np.full(100, 5.0), np.arange(100) % 2, np.arange(100) // 10, np.zeros(100))
    assert bound.mi_nats == pytest.approx(math.log(2) - 5.0)


def test_the_bound_is_a_mean_of_pointwise_information_and_its_interval_that_of_the_jackknife():
    rng = np.random.default_rng(0)
    utterance = rng.integers(60, size=6000)
    labels, losses = rng.integers(5, size=6000), rng.exponential(size=6000)
    bound = lower_bound(losses, labels, utterance, labels == 0)
    assert sum(bound.cluster_bits) / sum(bound.cluster_frames) == pytest.approx(bound.mi_bits)
    without = []  # entropy and all computed anew
    for name in range(60):
        rest = utterance != name
        without.append(bits(entropy_nats(labels[rest], 5) - losses[rest].mean()))
    error = math.sqrt(59 / 60 * np.sum((np.array(without) - np.mean(without)) ** 2))
    half = (bound.mi_bits_high - bound.mi_bits_low) / 2
    assert half == pytest.approx(stats.t.ppf(0.975, 59) * error, rel=0.02)


@pytest.mark.slow
def test_interval_covers_the_truth_about_as_often_as_it_says():
    # Utterances differ in difficulty, so an interval over single frames would be far too narrow here.
    rng = np.random.default_rng(0)
    utterance = np.repeat(np.arange(50), 40)
    truth = math.log2(8) - bits(1.0)
    covered = []
    for _ in range(400):
        difficulty = rng.gamma(4.0, 1 / 4.0, 50)
        losses = rng.exponential(difficulty[utterance])
        bound = lower_bound(losses, rng.integers(8, size=2000), utterance, losses < 1)
        covered.append(bound.mi_bits_low <= truth <= bound.mi_bits_high)
    assert 0.93 <= np.mean(covered) <= 0.98


def test_speakers_as_clusters_widen_the_interval_and_names_may_be_strings():
    rng = np.random.default_rng(0)
    speaker = np.repeat(np.arange(8), 500)
    utterance = np.array([f"u{number}" for number in np.arange(4000) // 50])
    losses = rng.gamma(4.0, 1 / 4.0, 8)[speaker] + 0.1 * rng.random(4000)
    labels = rng.integers(4, size=4000)
    narrow = lower_bound(losses, labels, utterance, losses < 1)
    wide = lower_bound(losses, labels, utterance, losses < 1, clusters=speaker)
    assert (narrow.mi_bits, narrow.utterances) == (wide.mi_bits, wide.utterances)
    assert wide.mi_bits_high - wide.mi_bits_low > 2 * (narrow.mi_bits_high - narrow.mi_bits_low)


def test_one_utterance_has_no_interval():
    bound = lower_bound([0.1, 0.2], [0, 1], ["a", "a"], [True, True])
    assert math.isnan(bound.mi_bits_low)
    assert math.isnan(bound.mi_bits_high)


def test_user_mistakes_are_data_errors():
    with pytest.raises(DataError, match="none of 2 frames has a label"):
        lower_bound([0.1, 0.1], [IGNORE, IGNORE], [0, 0], [True, True])
    with pytest.raises(DataError, match="1 frames of 2 not finite"):
        lower_bound([0.1, math.nan], [0, 1], [0, 0], [True, True])
    with pytest.raises(DataError, match="labels go from 0 to 40, expected 0 to 39"):
        entropy_nats([0, 40], 40)


def test_a_slot_gives_the_same_whatever_is_beside_it():
    features, labels = binary_channels(2000, seed=0)
    who = np.arange(2000) // 100
    training = {"classes": 2, "seed": 0, "hidden": 16, "epochs": 2}
    alone, beside = (
        measure(part, labels, {0.0: EvaluationSet(part, labels, who)}, **training)[0.0]
        for part in (features[1:2], features[1:3])
    )
    assert alone[0].mi_bits == pytest.approx(beside[0].mi_bits, abs=1e-6)


def test_hidden_states_give_the_same_as_a_slot_a_layer():
    features, labels = binary_channels(1200, seed=0)
    states = FrameStates(features.transpose(0, 1).contiguous())
    training = {"classes": 2, "seed": 0, "hidden": 8, "epochs": 2, "batch_frames": 100}
    who = np.arange(1200) // 60
    by_slot, by_layer = (
        measure(part, labels, {0.0: EvaluationSet(part, labels, who)}, **training) for part in (features, states)
    )
    assert by_slot == by_layer


def test_frames_of_a_set_are_those_it_names():
    features, labels = binary_channels(1200, seed=0)
    who, odd = np.arange(1200) // 60, np.arange(1, 1200, 2)
    training = {"classes": 2, "seed": 0, "hidden": 8, "epochs": 1}
    sets = {"all": EvaluationSet(features, labels, who), "odd": EvaluationSet(features, labels, who, frames=odd)}
    bounds = measure(features, labels, sets, **training)
    copied = {"odd": EvaluationSet(features[:, odd], labels[odd], who[odd])}
    assert bounds["odd"] == measure(features, labels, copied, **training)["odd"]
    assert [[bound.frames for bound in bounds[name]] for name in ("all", "odd")] == [[1200] * 4, [600] * 4]


@pytest.mark.parametrize("speakers", [2, 6])
def test_speakers_are_drawn_where_there_are_enough(speakers):
    features, labels = binary_channels(1200, seed=0)
    who = np.arange(1200) // 60
    sets = {
        "speakers given": EvaluationSet(features, labels, who, who % speakers),
        "expected": EvaluationSet(features, labels, who % speakers if speakers == 6 else who),
    }
    bounds = measure(features, labels, sets, classes=2, seed=0, hidden=8, epochs=1, min_speakers=6)
    first, second = ([(bound.mi_bits_low, bound.mi_bits_high) for bound in bounds[name]] for name in sets)
    assert first == second
