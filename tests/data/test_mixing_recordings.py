"""Noisy recordings with clean counterparts or without: what is read, what is measured, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phonemi import audio
from phonemi.config import Augment
from phonemi.data.manifest import Recording
from phonemi.data.mixing import CroppedPairs, NoisyRecordings, PairedRecordings, mix_at_snr
from phonemi.errors import DataError
from phonemi.metrics.intrusive import score_pair


def pair(folder, name, noisy, clean) -> Recording:
    for kind, waveform in (("noisy", noisy), ("clean", clean)):
        audio.save(folder / f"{name}.{kind}.wav", waveform, 16_000, subtype="FLOAT")
    return Recording(
        id=name, path=f"{folder}/{name}.noisy.wav", clean=f"{folder}/{name}.clean.wav", sample_rate=16_000,
        samples=len(noisy), speaker="s", text="words",
    )  # fmt: skip


@pytest.mark.parametrize("snr_db", [-5.0, 2.5, 17.5])
def test_the_snr_is_measured_and_the_samples_are_as_stored(tmp_path, snr_db):
    speech, noise = np.random.default_rng(0).normal(0, 0.1, (2, 4_000)).astype(np.float32)
    noisy, _ = mix_at_snr(speech, noise, snr_db)
    mixture = PairedRecordings([pair(tmp_path, "a", noisy, speech)])[0]
    assert mixture.snr_db == pytest.approx(snr_db, abs=1e-3)
    assert np.array_equal(mixture.noisy, noisy)
    assert np.array_equal(mixture.clean, speech)
    assert (mixture.id, mixture.speaker, mixture.text) == ("a", "s", "words")


def test_without_noise_there_is_no_snr(tmp_path):
    speech = np.full(1_000, 0.1, np.float32)
    assert np.isnan(PairedRecordings([pair(tmp_path, "a", speech, speech)])[0].snr_db)


def test_a_few_samples_of_difference_are_cut_and_more_are_refused(tmp_path):
    speech = np.full(1_000, 0.1, np.float32)
    assert len(PairedRecordings([pair(tmp_path, "a", speech, speech[:990])])[0].noisy) == 990
    with pytest.raises(DataError, match="b: 1000 noisy and 500 clean samples"):
        PairedRecordings([pair(tmp_path, "b", speech, speech[:500])])[0]


def test_a_recording_without_a_counterpart_is_refused(tmp_path):
    alone = Recording(id="x", path="x.wav", sample_rate=16_000, samples=10)
    with pytest.raises(DataError, match=r"1 of 1 have none \(x\)"):
        PairedRecordings([alone])
    with pytest.raises(DataError, match="there are no recordings"):
        PairedRecordings([])


def test_without_a_counterpart_nothing_can_be_compared_by_mistake(tmp_path):
    noisy = np.random.default_rng(0).normal(0, 0.1, 4_000).astype(np.float32)
    recordings = NoisyRecordings([pair(tmp_path, "a", noisy, noisy)])
    mixture = recordings[0]
    assert np.array_equal(mixture.noisy, noisy)
    assert (len(recordings), mixture.id, mixture.speaker, mixture.text) == (1, "a", "s", "words")
    assert np.isnan(mixture.snr_db)
    scores = score_pair(mixture.noisy, mixture.noisy, mixture.clean)
    assert {score.reason for score in scores.values()} == {"reference not finite"}


def test_noise_and_snr_of_the_manifest_come_first(tmp_path):
    speech = np.random.default_rng(0).normal(0, 0.1, 4_000).astype(np.float32)
    known = replace(pair(tmp_path, "a", 1.5 * speech, speech), snr_db=2.5, noise="bus")
    mixture = PairedRecordings([known])[0]
    assert (mixture.snr_db, mixture.noise_id) == (2.5, "bus")
    assert NoisyRecordings([known])[0].noise_id == "bus"


def test_crops_of_pairs_are_of_one_length_and_other_ones_in_every_epoch(tmp_path):
    speech = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32) * 0.1
    noisy = speech + 0.05
    recordings = [pair(tmp_path, "long", noisy[0], speech[0]), pair(tmp_path, "short", noisy[1, :700], speech[1, :700])]
    windows = np.lib.stride_tricks.sliding_window_view(speech[0], 1600)
    starts = set()
    for epoch in range(12):
        crops = CroppedPairs(recordings, crop_s=0.1, seed=3, epoch=epoch)
        again = CroppedPairs(recordings, crop_s=0.1, seed=3, epoch=epoch)
        assert len(crops) == 2
        for index in range(2):
            assert len(crops[index].noisy) == len(crops[index].clean) == 1600
            assert np.array_equal(crops[index].noisy, again[index].noisy)
            np.testing.assert_allclose(crops[index].noisy - crops[index].clean, 0.05, atol=1e-4)
        (fitting,) = np.nonzero((abs(windows - crops[0].clean) < 1e-4).all(1))
        assert len(fitting) == 1
        starts.add(int(fitting[0]))
        np.testing.assert_allclose(crops[1].clean[:700], speech[1, :700], atol=1e-4)
        np.testing.assert_allclose(crops[1].clean[700:1400], speech[1, :700], atol=1e-4)
    assert len(starts) > 8
    with pytest.raises(DataError, match="at least one sample"):
        CroppedPairs(recordings, crop_s=0.00001, seed=3)


def test_crops_of_pairs_get_the_gains_and_nothing_else(tmp_path):
    speech = np.random.default_rng(0).standard_normal(1600).astype(np.float32) * 0.1
    recordings = [pair(tmp_path, "a", speech + 0.05, speech)]
    augmentation = Augment(gain_db=(0, 20), reverb_share=1, gain_in_amplitude=True)
    gains = []
    for epoch in range(30):
        crop = CroppedPairs(recordings, crop_s=0.1, seed=3, epoch=epoch, augmentation=augmentation)[0]
        gains.append(float(crop.clean @ speech / (speech @ speech)))
        np.testing.assert_allclose(crop.clean, gains[-1] * speech, atol=1e-3)
        np.testing.assert_allclose(crop.noisy - crop.clean, 0.05 * gains[-1], atol=1e-3)
    assert 1 <= min(gains) < 3
    assert 8 < max(gains) <= 10.01
