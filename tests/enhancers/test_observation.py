"""What is seen of an enhancer is what it did: its weights, its mask, one run of the encoder, nothing changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phonemi.aggregations import Aggregation, DynamicWeightedSum, WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.enhancers.observation import estimated_snr_db, observing
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.signal import ssl_frames, stft_frames

RATE = 16_000


def enhancer_with(aggregation: Aggregation | None) -> Enhancer:
    torch.manual_seed(0)
    if aggregation is None:
        return Enhancer(None, None, MaskEnhancer(0, log1p=True, hidden=4, layers=1))
    encoder = MelTransformer(
        MelTransformerConfig(mels=80, dim=16, blocks=2, heads=2, feedforward=16, position_kernel=31)
    )
    return Enhancer(encoder, aggregation, MaskEnhancer(16, hidden=4, layers=1, hop=encoder.hop))


def noise(samples: int = RATE, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("kind", [WeightedSum, DynamicWeightedSum])
def test_weights_and_mask_are_those_of_the_run_that_enhances(kind: type[Aggregation]) -> None:
    enhancer = enhancer_with(kind(3, 16) if kind is DynamicWeightedSum else kind(3))
    encoder, aggregation = enhancer.representation, enhancer.aggregation
    assert encoder is not None
    assert aggregation is not None
    runs: list[object] = []
    encoder.register_forward_hook(lambda *call: runs.append(call))
    with observing(enhancer) as seen:
        enhanced = enhancer.enhance(noise(), RATE)
    assert len(runs) == 1
    assert seen.local_snr_db is not None
    assert seen.layer_weights is not None
    assert seen.local_snr_db.shape == (stft_frames(RATE),)
    assert seen.duration_s == 1.0
    assert seen.frame_s == encoder.hop / RATE
    with torch.inference_mode():
        own = aggregation.weights(encoder(torch.from_numpy(noise())[None]).states)[0].numpy()
    assert own.shape == ((ssl_frames(RATE), 3) if encoder.hop == 320 else own.shape)
    np.testing.assert_allclose(seen.layer_weights, own, atol=1e-5)
    assert (np.ptp(seen.layer_weights, axis=0) > 1e-6).any() == (kind is DynamicWeightedSum)
    np.testing.assert_array_equal(enhanced, enhancer.enhance(noise(), RATE))


def test_the_first_piece_is_seen_and_nothing_after_the_block() -> None:
    enhancer = enhancer_with(WeightedSum(3))
    with observing(enhancer) as seen:
        assert seen.duration_s == 0.0
        enhancer.enhance(np.zeros(RATE, np.float32), RATE)
        assert seen.local_snr_db is None, "silence is not given to the model"
        enhancer.enhance(noise(RATE // 2), RATE)
        enhancer.enhance(noise(2 * RATE), RATE)
    assert seen.duration_s == 0.5
    enhancer.enhance(noise(2 * RATE), RATE)
    assert seen.duration_s == 0.5


def test_of_a_batch_the_first_item_is_seen_without_its_padding() -> None:
    enhancer = enhancer_with(WeightedSum(3))
    with observing(enhancer) as seen:
        enhancer.enhance_batch([noise(RATE // 2), noise(RATE, seed=1)], RATE)
    with observing(enhancer) as alone:
        enhancer.enhance(noise(RATE // 2), RATE)
    assert seen.duration_s == 0.5
    assert seen.local_snr_db is not None
    assert alone.local_snr_db is not None
    np.testing.assert_allclose(seen.local_snr_db, alone.local_snr_db, atol=1e-3)


def test_limit_and_mix_change_nothing_of_what_is_seen() -> None:
    enhancer = enhancer_with(WeightedSum(3))
    with observing(enhancer) as all_of_it:
        enhancer.enhance(noise(), RATE)
    with observing(enhancer) as half:
        enhancer.enhance(noise(), RATE, mix=0.5, attenuation_limit_db=3.0)
    np.testing.assert_array_equal(np.asarray(half.local_snr_db), np.asarray(all_of_it.local_snr_db))


def test_without_an_encoder_there_are_no_layers() -> None:
    enhancer = enhancer_with(None)
    with observing(enhancer) as seen:
        enhancer.enhance(noise(), RATE)
    assert seen.layer_weights is None
    assert seen.local_snr_db is not None


def test_the_estimate_compares_what_is_kept_with_what_is_removed() -> None:
    magnitude, kept = torch.full((40, 257), 3.0), torch.full((40, 257), 3.0)
    kept[:20] *= 0.5
    kept[20:] *= 0.9
    snr_db = estimated_snr_db(magnitude.log1p(), kept.log1p() / magnitude.log1p())
    assert snr_db[:15].numpy() == pytest.approx(0, abs=1e-3)
    assert snr_db[25:].numpy() == pytest.approx(20 * np.log10(9), abs=1e-3)
    assert (snr_db[15:25].diff() >= -1e-6).all()
    for share, expected_db in ((1.0, 30.0), (0.0, -30.0)):
        estimate = estimated_snr_db(magnitude.log1p(), torch.full((40, 257), share))
        assert estimate.tolist() == [expected_db] * 40
    assert estimated_snr_db(torch.zeros(4, 257), torch.full((4, 257), 0.5)).isnan().all()
