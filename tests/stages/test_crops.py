from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from phonemi import audio
from phonemi.config import load_config
from phonemi.data.manifest import Recording
from phonemi.data.store import AudioStore, NoiseStore
from phonemi.representations.mel_transformer import mel_pairs
from phonemi.signal import ssl_frames
from phonemi.stages.crops import HELD_OUT_EVERY, Crops, Stream, as_integers, span_mask

MELS = 20


def speech(seed: int, samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def raw_features(waveform: torch.Tensor) -> torch.Tensor:
    nothing = torch.zeros(MELS), torch.ones(MELS)
    return mel_pairs(waveform[None], torch.tensor([len(waveform)]), *nothing)[0]


@pytest.fixture
def stream() -> Stream:
    """Two utterances, with their samples."""
    waveforms = [speech(seed, samples) for seed, samples in ((0, 90_123), (1, 70_001))]
    made = Stream([raw_features(w) for w in waveforms], [as_integers(w) for w in waveforms])
    made.standardise(MELS)
    return made


@pytest.fixture
def noise(tmp_path: Path) -> NoiseStore:
    audio.save(tmp_path / "hum.wav", 0.3 * np.sin(np.arange(20_000) / 5).astype(np.float32), 16_000)
    hum = Recording(id="hum", path=str(tmp_path / "hum.wav"), sample_rate=16_000, samples=20_000, fold=1)
    return NoiseStore(AudioStore([hum]))


def crops(stream: Stream, noise: NoiseStore | None, *changes: str) -> Crops:
    sizes = ("encoder.crop_frames=32", "encoder.batch=6", f"encoder.mels={MELS}")
    settings = load_config(None, [*sizes, *changes]).encoder
    return Crops(stream, torch.arange(len(stream.features)), settings, seed=0, noise=noise)


def test_a_stream_is_standardised_and_keeps_its_utterances(stream: Stream) -> None:
    frames = [ssl_frames(90_123), ssl_frames(70_001)]
    assert stream.starts == [0, frames[0], sum(frames)]
    per_bin = stream.features.float().view(-1, MELS)
    assert per_bin.mean(0).abs().max() < 2e-3
    assert (per_bin.std(0) - 1).abs().max() < 2e-3
    assert stream.batches(frames=1) == [(0, 1), (1, 2)]
    assert stream.batches(frames=10**6) == [(0, 2)]


def test_samples_lie_under_their_frames(stream: Stream) -> None:
    assert len(stream.samples) == 320 * len(stream.features) + 80
    second = speech(1, 70_001)
    found = torch.from_numpy(stream.waveform(stream.starts[1] + 10, 50))
    assert len(found) == 320 * 50 + 80
    assert (found - second[3200 : 3200 + len(found)]).abs().max() < 1 / 32767


def test_a_disturbed_crop_has_the_snr_that_was_drawn(stream: Stream, noise: NoiseStore) -> None:
    batches = crops(stream, noise, "encoder.noisy_share=1", "encoder.noisy_snrs_db=[7, 7]", "encoder.mixed_share=0.5")
    for seed in range(8):
        clean = stream.waveform(40, 32)
        disturbance = batches._disturbed(stream.waveform(40, 32), 300, np.random.default_rng(seed)) - clean
        assert 10 * np.log10((clean**2).sum() / (disturbance**2).sum()) == pytest.approx(7, abs=0.01)


def test_talking_over_covers_half_at_most(stream: Stream, noise: NoiseStore) -> None:
    batches = crops(stream, noise, "encoder.noisy_share=1", "encoder.mixed_share=1")
    for seed in range(8):
        disturbance = batches._disturbed(stream.waveform(40, 32), 300, np.random.default_rng(seed)) - stream.waveform(
            40, 32
        )
        assert 0 < np.count_nonzero(disturbance) <= len(disturbance) // 2


@pytest.mark.slow
def test_noisy_crops_keep_their_units_and_masks(stream: Stream, noise: NoiseStore) -> None:
    clean, noisy = crops(stream, noise), crops(stream, noise, "encoder.noisy_share=1")
    for step in range(3):
        features, mask, units = clean.batch(step)
        disturbed, same_mask, same_units = noisy.batch(step)
        assert torch.equal(mask, same_mask)
        assert torch.equal(units, same_units)
        assert features.shape == disturbed.shape
        assert features.dtype == disturbed.dtype
        assert not torch.isclose(features.float(), disturbed.float(), atol=0.01).all(2).any()
    assert torch.equal(noisy.batch(2)[0], noisy.batch(2)[0])
    share = crops(stream, noise, "encoder.noisy_share=0.5", "encoder.batch=200")
    changed = (share.batch(0)[0] != clean_of(share)).any(2).any(1).float().mean().item()
    assert changed == pytest.approx(0.5, abs=0.12)


def clean_of(batches: Crops) -> torch.Tensor:
    """Features of the first batch without noise."""
    return batches.stream.features[batches.batch(0)[2]]


def test_noise_far_below_the_speech_changes_little(stream: Stream, noise: NoiseStore) -> None:
    batches = crops(stream, noise, "encoder.noisy_share=1", "encoder.noisy_snrs_db=[90, 90]", "encoder.mixed_share=0")
    features, _, units = batches.batch(0)
    # Not the same: the level is that of the crop instead of the utterance.
    assert (features.float() - stream.features[units].float()).abs().mean() < 0.05


def test_silence_cannot_be_disturbed(noise: NoiseStore) -> None:
    silence = torch.zeros(60_000)
    stream = Stream([raw_features(silence)], [as_integers(silence)])
    stream.standardise(MELS)
    features, _, _ = crops(stream, noise, "encoder.noisy_share=1").batch(0)
    assert features.isfinite().all()


def test_masked_spans() -> None:
    mask = span_mask((200, 300), 0.05, 10, np.random.default_rng(0))
    # A frame is free if none of the ten spans that could cover it starts: 0.95^10 = 0.599.
    assert mask[:, 10:].float().mean().item() == pytest.approx(1 - 0.95**10, abs=0.01)
    assert span_mask((50, 20), 1e-9, 10, np.random.default_rng(0)).any(1).all(), "no crop without a target"
    covered = span_mask((1, 5000), 0.01, 7, np.random.default_rng(1))[0, :4990].numpy()
    edges = np.flatnonzero(np.diff(np.r_[0, covered, 0]))
    assert (edges[1::2] - edges[::2])[:-1].min() == 7


@pytest.mark.parametrize("blocks", [2, 7, 45])
def test_held_out_blocks_are_in_no_training_batch(blocks: int) -> None:
    size = 16
    frames = blocks * 2 * size
    stream = Stream([torch.arange(frames)[:, None].expand(frames, 40).float()])
    settings = load_config(None, ["encoder.crop_frames=16", "encoder.batch=64"]).encoder
    crops = Crops(stream, torch.arange(frames), settings, seed=0)
    trained, validated = set(), set()
    for step in range(30):
        features, mask, units = crops.batch(step)
        assert features.shape == (64, size, 40)
        assert mask.shape == units.shape == (64, size)
        assert torch.equal(features[..., 0].long(), units), "units stay with their frames"
        trained |= set(units.flatten().tolist())
        validated |= set(crops.batch(step, held_out=True)[2].flatten().tolist())
    assert validated
    assert not {frame // (2 * size) for frame in trained} & {frame // (2 * size) for frame in validated}
    again = crops.batch(3)
    assert all(torch.equal(one, other) for one, other in zip(again, crops.batch(3), strict=True))
    assert not torch.equal(again[2], crops.batch(4)[2])


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_a_crop_played_at_another_speed_keeps_its_units_in_step(speed: float) -> None:
    """A rising tone, and the units its own frequency: what is heard must be `speed` times what the units say."""
    samples = 400_000
    frequency_hz = np.linspace(300.0, 3_000.0, samples)
    tone = torch.from_numpy(0.1 * np.sin(2 * np.pi * np.cumsum(frequency_hz) / 16_000)).float()
    sweep = Stream([raw_features(tone)], [as_integers(tone)])
    sweep.standardise(MELS)
    units = torch.from_numpy(frequency_hz[200 + 320 * np.arange(len(sweep.features))]).round().long()
    played = crops(sweep, None, f"encoder.speeds=[{speed}, {speed}]")
    played.targets = units
    features, _, heard_as = played.batch(step=3)
    wanted = []
    for row in heard_as:  # constant tones of the expected frequency, as features
        centre = float(row[16]) * speed
        still = torch.from_numpy(0.1 * np.sin(2 * np.pi * centre * np.arange(4_000) / 16_000)).float()
        wanted.append(raw_features(still)[5].view(2, MELS)[0].argmax())
    found = (features[:, 16].view(-1, 2, MELS)[:, 0] * sweep.std + sweep.mean).argmax(1)
    assert (found - torch.stack(wanted)).abs().max() <= 1


def test_speeds_leave_held_out_crops_alone(stream: Stream) -> None:
    as_is, played = crops(stream, None), crops(stream, None, "encoder.speeds=[0.9, 1.1]")
    assert all(torch.equal(a, b) for a, b in zip(as_is.batch(2, True), played.batch(2, True), strict=True))
    assert not torch.equal(as_is.batch(2)[0], played.batch(2)[0])


@pytest.mark.slow
def test_a_faster_crop_does_not_reach_into_the_next_block(stream: Stream) -> None:
    played = crops(stream, None, "encoder.speeds=[1.5, 1.5]")
    for step in range(50):
        _, _, frames = played.batch(step)  # the units are the frames' own numbers
        assert (frames // 64 == frames[:, :1] // 64).all()
        assert (frames // 64 % HELD_OUT_EVERY != 0).all() or len(stream.features) // 64 < HELD_OUT_EVERY
