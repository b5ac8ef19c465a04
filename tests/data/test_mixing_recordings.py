"""Noisy recordings with clean counterparts or without: what is read, what is measured, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phonemi import audio
from phonemi.data.manifest import Recording
from phonemi.data.mixing import NoisyRecordings, PairedRecordings, mix_at_snr
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
