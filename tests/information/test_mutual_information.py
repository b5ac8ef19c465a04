"""Mutual information where it is known on paper: noiseless, constant, binary symmetric channel, Gaussian mixture."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from phonemi.errors import DataError
from phonemi.information.mutual_information import (
    IGNORE,
    EvaluationSet,
    ProbeData,
    bits,
    entropy_nats,
    evaluate_probes,
    lower_bound,
    measure,
    train_probes,
)

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


@pytest.mark.parametrize(("depth", "learning_rate"), [(1, 0.1), (3, 0.01)])
def test_probes_find_the_information_of_known_channels(depth, learning_rate):
    features, labels = binary_channels(20_000, seed=0)
    test_features, test_labels = binary_channels(40_000, seed=1)
    test_set = EvaluationSet(test_features, test_labels, np.arange(40_000) // 100)
    rows = measure(
        features.half(), labels, {0.0: test_set}, classes=2, seed=3, resamples=200,
        depth=depth, hidden=16, epochs=6, batch_frames=500, learning_rate=learning_rate,
    )  # fmt: skip
    flip_bits = 1 + FLIP * math.log2(FLIP) + (1 - FLIP) * math.log2(1 - FLIP)
    expected = [rows[0]["entropy_bits"], 0.0, flip_bits, gaussian_mixture_bits()]
    assert [row["slot"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["mi_bits"] == pytest.approx(1.0, rel=0.01)
    for row, value in zip(rows, expected, strict=True):
        assert row["mi_bits"] == pytest.approx(value, abs=0.02)
        assert row["mi_bits_low"] <= row["mi_bits"] <= row["mi_bits_high"]
        assert row["mi_bits"] <= row["entropy_bits"]
        assert (row["frames"], row["utterances"], row["snr_db"]) == (40_000, 400, 0.0)
    assert rows[2]["accuracy"] == pytest.approx(1 - FLIP, abs=0.01)


def test_one_hot_features_of_many_classes_carry_all_their_entropy():
    labels = torch.from_numpy(np.random.default_rng(0).geometric(0.2, 8000).clip(max=40) - 1)
    features = torch.nn.functional.one_hot(labels, 40)[None].float()
    row = measure(
        features, labels, {20.0: (features, labels, labels, None)}, classes=40, seed=0, resamples=10,
        hidden=64, epochs=12, batch_frames=250, learning_rate=3e-3, bf16=True,
    )[0]  # fmt: skip
    assert row["mi_bits"] == pytest.approx(bits(entropy_nats(labels, 40)), rel=0.01)


def test_entropy_of_known_distributions():
    assert bits(entropy_nats(np.arange(40), 40)) == pytest.approx(math.log2(40))
    assert entropy_nats([3, 3, IGNORE, 3], 40) == 0
    assert bits(entropy_nats([0, 0, 0, 1], 2)) == pytest.approx(0.811278, abs=1e-6)


def test_lower_bound_pools_frames_and_drops_unlabelled_ones_from_both_terms():
    labels = np.array([0, 1, 1, IGNORE, 1])
    losses = np.array([0.1, 0.2, 0.3, 1e9, 0.4])
    bound = lower_bound(losses, labels, [0, 0, 0, 0, 1], [True, True, False, True, True], seed=0)
    assert bound.mi_nats == pytest.approx(entropy_nats([0, 1, 1, 1], 2) - 0.25)
    assert bound.mi_bits == pytest.approx(bound.mi_nats / math.log(2))
    assert bound.mi_bits == pytest.approx(bound.entropy_bits - bound.cross_entropy_bits)
    assert (bound.frames, bound.utterances, bound.accuracy) == (4, 2, 0.75)
    assert set(bound.as_row()) == {
        "mi_bits", "mi_nats", "entropy_bits", "cross_entropy_bits", "accuracy", "frames", "utterances",
        "mi_bits_low", "mi_bits_high",
    }  # fmt: skip


def test_confident_mistakes_give_a_negative_bound_that_is_kept():
    bound = lower_bound(np.full(100, 5.0), np.arange(100) % 2, np.arange(100) // 10, np.zeros(100), seed=0)
    assert bound.mi_nats == pytest.approx(math.log(2) - 5.0)


def test_bootstrap_equals_resampling_the_frames_themselves():
    rng = np.random.default_rng(0)
    utterance = rng.integers(6, size=300)
    labels, losses = rng.integers(5, size=300), rng.exponential(size=300)
    bound = lower_bound(losses, labels, utterance, labels == 0, seed=7, resamples=50)
    values = []
    for draw in np.random.default_rng(7).multinomial(6, np.full(6, 1 / 6), size=50):
        chosen = np.concatenate([np.tile(np.flatnonzero(utterance == name), draw[name]) for name in range(6)])
        values.append(bits(entropy_nats(labels[chosen], 5) - losses[chosen].mean()))
    low, high = np.quantile(values, (0.025, 0.975))
    assert (bound.mi_bits_low, bound.mi_bits_high) == pytest.approx((low, high))


def test_interval_covers_the_truth_about_as_often_as_it_says():
    # Utterances differ in difficulty, so an interval over single frames would be far too narrow here.
    rng = np.random.default_rng(0)
    utterance = np.repeat(np.arange(50), 40)
    truth = math.log2(8) - bits(1.0)
    covered = []
    for seed in range(150):
        difficulty = rng.gamma(4.0, 1 / 4.0, 50)
        losses = rng.exponential(difficulty[utterance])
        bound = lower_bound(losses, rng.integers(8, size=2000), utterance, losses < 1, seed=seed, resamples=200)
        covered.append(bound.mi_bits_low <= truth <= bound.mi_bits_high)
    assert 0.87 <= np.mean(covered) <= 0.99


def test_speakers_as_clusters_widen_the_interval_and_names_may_be_strings():
    rng = np.random.default_rng(0)
    speaker = np.repeat(np.arange(8), 500)
    utterance = np.array([f"u{number}" for number in np.arange(4000) // 50])
    losses = rng.gamma(4.0, 1 / 4.0, 8)[speaker] + 0.1 * rng.random(4000)
    labels = rng.integers(4, size=4000)
    narrow = lower_bound(losses, labels, utterance, losses < 1, seed=0)
    wide = lower_bound(losses, labels, utterance, losses < 1, clusters=speaker, seed=0)
    assert (narrow.mi_bits, narrow.utterances) == (wide.mi_bits, wide.utterances)
    assert wide.mi_bits_high - wide.mi_bits_low > 2 * (narrow.mi_bits_high - narrow.mi_bits_low)


def test_one_utterance_has_no_interval():
    bound = lower_bound([0.1, 0.2], [0, 1], ["a", "a"], [True, True], seed=0)
    assert math.isnan(bound.mi_bits_low)
    assert math.isnan(bound.mi_bits_high)


def test_user_mistakes_are_data_errors():
    with pytest.raises(DataError, match="none of 2 frames has a label"):
        lower_bound([0.1, 0.1], [IGNORE, IGNORE], [0, 0], [True, True], seed=0)
    with pytest.raises(DataError, match="1 frames of 2 not finite"):
        lower_bound([0.1, math.nan], [0, 1], [0, 0], [True, True], seed=0)
    with pytest.raises(DataError, match="labels go from 0 to 40, expected 0 to 39"):
        entropy_nats([0, 40], 40)
    frames = ProbeData(torch.zeros(1, 3, 2), torch.full((3,), IGNORE))
    with pytest.raises(DataError, match="none of 3 frames"):
        train_probes(frames, classes=2, generator=torch.Generator())


def test_training_depends_on_its_generator_only_and_ignores_unlabelled_frames():
    features, labels = binary_channels(600, seed=0)
    spoiled = torch.cat((features, torch.full((4, 50, 2), 1e4)), 1), torch.cat((labels, torch.full((50,), IGNORE)))
    calls = []

    def train(*frames, progress=None):
        generator = torch.Generator().manual_seed(5)
        return train_probes(
            ProbeData(*frames), classes=2, generator=generator, hidden=8, epochs=2, batch_frames=50, progress=progress
        )

    state = torch.random.get_rng_state()
    one = train(features, labels, progress=lambda *call: calls.append(call))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(1)
    other = train(*spoiled)
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)
    assert [call[:2] for call in calls] == [(10, 24), (20, 24), (24, 24)], "told now and then, and at the end"
    assert calls[-1][2] < calls[0][2]
    assert not one.training


def test_evaluation_does_not_depend_on_its_chunks():
    features, labels = binary_channels(100, seed=0)
    labels[7] = IGNORE
    frames = ProbeData(features, labels)
    probes = train_probes(frames, classes=2, generator=torch.Generator().manual_seed(0), hidden=8, epochs=1)
    losses, correct = evaluate_probes(probes, features, labels)
    chunked, chunked_correct = evaluate_probes(probes, features, labels, batch_frames=33)
    torch.testing.assert_close(losses, chunked)
    assert torch.equal(correct, chunked_correct)
    expected = -probes(features).log_softmax(-1)[2, 5, labels[5]]
    torch.testing.assert_close(losses[2, 5], expected.detach())
    assert losses[:, 7].abs().max() == 0
    assert not correct[:, 7].any()


def test_a_slot_gives_the_same_whatever_is_beside_it():
    features, labels = binary_channels(2000, seed=0)
    sets = {0.0: (features[1:3], labels, np.arange(2000) // 100)}
    training = {"classes": 2, "seed": 0, "hidden": 16, "epochs": 2, "resamples": 5}
    alone = measure(features[1:2], labels, {0.0: (features[1:2], *sets[0.0][1:])}, **training)
    beside = measure(features[1:3], labels, sets, **training)
    assert alone[0]["mi_bits"] == pytest.approx(beside[0]["mi_bits"], abs=1e-6)


def test_how_the_features_lie_in_memory_changes_nothing():
    features, labels = binary_channels(1200, seed=0)
    by_frame = features.permute(1, 0, 2).contiguous().permute(1, 0, 2)  # as hidden states lie on disk
    assert by_frame.stride() != features.stride()
    training = {"classes": 2, "seed": 0, "hidden": 8, "epochs": 2, "batch_frames": 100, "resamples": 5}
    who = np.arange(1200) // 60
    found = [measure(one, labels, {0.0: EvaluationSet(one, labels, who)}, **training) for one in (features, by_frame)]
    assert found[0] == found[1]


def test_frames_of_a_set_are_those_it_names():
    features, labels = binary_channels(1200, seed=0)
    who, odd = np.arange(1200) // 60, np.arange(1, 1200, 2)
    training = {"classes": 2, "seed": 0, "hidden": 8, "epochs": 1, "resamples": 20}
    sets = {0.0: EvaluationSet(features, labels, who), 5.0: EvaluationSet(features, labels, who, frames=odd)}
    rows = measure(features, labels, sets, **training)
    copied = {5.0: EvaluationSet(features[:, odd], labels[odd], who[odd])}
    assert rows[4:] == measure(features, labels, copied, **training)
    assert [row["frames"] for row in rows] == [1200] * 4 + [600] * 4


@pytest.mark.parametrize("speakers", [2, 6])
def test_few_speakers_are_not_what_is_drawn(speakers):
    features, labels = binary_channels(1200, seed=0)
    who = np.arange(1200) // 60
    sets = {
        0.0: EvaluationSet(features, labels, who, who % speakers),
        5.0: EvaluationSet(features, labels, who % speakers if speakers == 6 else who),
    }
    first, second = (
        [(row["mi_bits_low"], row["mi_bits_high"]) for row in rows]
        for rows in np.split(np.array(measure(features, labels, sets, classes=2, seed=0, hidden=8, epochs=1)), 2)
    )
    assert first == second
