"""Batched probes against the ordinary modules they stand for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from phonemi.constants import IGNORE
from phonemi.errors import DataError
from phonemi.probes.frames import FrameStates
from phonemi.probes.layer_probes import LayerProbes, evaluate_probes, train_probes

SLOTS, FRAMES, DIM, CLASSES = 3, 20, 6, 4


def features(seed: int = 0) -> torch.Tensor:
    return torch.randn(SLOTS, FRAMES, DIM, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_batched_product_equals_separate_modules(depth):
    probes = LayerProbes(SLOTS, DIM, CLASSES, hidden=8, depth=depth).eval()
    logits = probes(features())
    assert logits.shape == (SLOTS, FRAMES, CLASSES)
    for slot in range(SLOTS):
        torch.testing.assert_close(logits[slot], probes.slot(slot)(features()[slot]))


@pytest.mark.slow
def test_training_together_equals_training_separately():
    probes = LayerProbes(SLOTS, DIM, CLASSES, hidden=8, dropout=0.0)
    separate = [probes.slot(slot) for slot in range(SLOTS)]
    labels = torch.arange(FRAMES) % CLASSES
    optimiser = torch.optim.Adam(probes.parameters(), lr=1e-2)
    for step in range(10):
        logits = probes(features(step))
        optimiser.zero_grad()
        sum(F.cross_entropy(slot, labels) for slot in logits).backward()
        optimiser.step()
    for slot, module in enumerate(separate):
        optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
        for step in range(10):
            optimiser.zero_grad()
            F.cross_entropy(module(features(step)[slot]), labels).backward()
            optimiser.step()
        torch.testing.assert_close(probes(features(99))[slot], module(features(99)[slot]), rtol=1e-4, atol=1e-5)


def test_starts_as_linear_layers_do_and_alike_in_each_slot():
    probes = LayerProbes(SLOTS, 400, CLASSES, hidden=100, generator=torch.Generator().manual_seed(0))
    again = LayerProbes(SLOTS, 400, CLASSES, hidden=100, generator=torch.Generator().manual_seed(0))
    for inputs, kernel, bias in zip((400, 100, 100), probes.kernels, probes.biases, strict=True):
        bound = inputs**-0.5
        assert kernel.abs().max() <= bound
        assert bias.abs().max() <= bound
        assert kernel.std(unbiased=False).item() == pytest.approx(bound / 3**0.5, rel=0.05)  # of a uniform draw
        assert torch.equal(kernel[0], kernel[1])
    assert all(torch.equal(*pair) for pair in zip(probes.parameters(), again.parameters(), strict=True))


def test_dropout_keeps_the_mean_and_only_works_in_training():
    probes = LayerProbes(2, DIM, CLASSES, hidden=16, depth=2, dropout=0.3)
    frame = features()[:2, :1]
    many = frame.expand(2, 20_000, DIM)
    expected = probes.eval()(frame)
    assert torch.equal(probes(frame), expected)
    logits = probes.train()(many)
    assert logits.std(1).min() > 0
    torch.testing.assert_close(logits.mean(1, keepdim=True), expected, rtol=0, atol=0.02)


def test_linear_probe_has_one_matrix_a_slot():
    probes = LayerProbes(13, 768, 40, depth=1)
    assert sum(parameter.numel() for parameter in probes.parameters()) == 13 * (768 * 40 + 40)


def labelled_frames(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features `[slot, frame, dim]` that tell something of the labels `[frame]`."""
    labels = torch.randint(CLASSES, (count,), generator=torch.Generator().manual_seed(seed))
    noise = torch.randn(SLOTS, count, DIM, generator=torch.Generator().manual_seed(seed + 1))
    return F.one_hot(labels, DIM) + noise, labels


def test_training_depends_on_its_generator_only_and_ignores_unlabelled_frames():
    features, labels = labelled_frames(600, seed=0)
    unknown = torch.full((50,), IGNORE)
    spoiled = torch.cat((features, torch.full((SLOTS, 50, DIM), 1e4)), 1), torch.cat((labels, unknown))
    calls: list[tuple[int, int, float]] = []

    def train(features, labels, progress=None):
        generator = torch.Generator().manual_seed(5)
        return train_probes(
            features, labels, classes=CLASSES, generator=generator, hidden=8, epochs=2, batch_frames=50,
            learning_rate=0.01, progress=progress,
        )  # fmt: skip

    state = torch.random.get_rng_state()
    probes = train(features, labels, progress=lambda *call: calls.append(call))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(1)
    again = train(*spoiled)
    for first, second in zip(probes.parameters(), again.parameters(), strict=True):
        assert torch.equal(first, second)
    assert [call[:2] for call in calls] == [(10, 24), (20, 24), (24, 24)], "called now and then, and at the end"
    assert calls[-1][2] < calls[0][2]
    assert not probes.training


def test_evaluation_does_not_depend_on_its_chunks_and_leaves_unlabelled_frames_out():
    features, labels = labelled_frames(100, seed=0)
    labels[7] = IGNORE
    generator = torch.Generator().manual_seed(0)
    probes = train_probes(features, labels, classes=CLASSES, generator=generator, hidden=8, epochs=1)
    losses, correct = evaluate_probes(probes, features, labels)
    chunked, chunked_correct = evaluate_probes(probes, features, labels, batch_frames=33)
    torch.testing.assert_close(losses, chunked)
    assert torch.equal(correct, chunked_correct)
    logits = probes(features).detach()
    torch.testing.assert_close(losses[2, 5], -logits.log_softmax(-1)[2, 5, labels[5]])
    assert torch.equal(correct[:, 8], logits[:, 8].argmax(-1) == labels[8])
    assert losses[:, 7].abs().max() == 0
    assert not correct[:, 7].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_hidden_states_train_the_same_probes_as_a_slot_a_layer(dtype: torch.dtype):
    features, labels = labelled_frames(300, seed=0)
    features = features.to(dtype)
    states = FrameStates(features.transpose(0, 1).contiguous())
    assert states.shape == features.shape
    frames = torch.tensor([5, 0, 299, 5])
    assert torch.equal(states.batch(frames), features[:, frames])
    first, second = (
        train_probes(
            part, labels, classes=CLASSES, generator=torch.Generator().manual_seed(1), hidden=8, epochs=2,
            batch_frames=64,
        )
        for part in (features, states)
    )  # fmt: skip
    assert all(torch.equal(*pair) for pair in zip(first.parameters(), second.parameters(), strict=True))
    by_slot, by_layer = (evaluate_probes(first, part, labels) for part in (features, states))
    assert all(torch.equal(*pair) for pair in zip(by_slot, by_layer, strict=True))


def test_labels_that_cannot_be_learned_are_data_errors():
    with pytest.raises(DataError, match="none of 3 frames has a label"):
        train_probes(torch.zeros(1, 3, 2), torch.full((3,), IGNORE), classes=2, generator=torch.Generator())
    with pytest.raises(DataError, match="labels go from 0 to 2, expected 0 to 1"):
        train_probes(torch.zeros(1, 3, 2), torch.tensor([0, 2, IGNORE]), classes=2, generator=torch.Generator())
    with pytest.raises(DataError, match="labels go from -1 to 1, expected 0 to 1"):
        train_probes(torch.zeros(1, 3, 2), torch.tensor([0, 1, -1]), classes=2, generator=torch.Generator())
