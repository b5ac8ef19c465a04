"""Stores and sets of mixtures: each mixture is a function of (seed, epoch, index), on any number of threads."""

from __future__ import annotations

import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phonemi import audio
from phonemi.data.manifest import Interval, Recording
from phonemi.data.mixing import AudioStore, DrawnMixtures, Mixture, PlannedMixtures
from phonemi.errors import AudioError, DataError

SNRS_DB = (-10, -5, 0, 2.5, 5)


def _white(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def _snr_db(mixture: Mixture) -> float:
    noise = mixture.noisy.astype(np.float64) - mixture.clean
    return audio.level_db(mixture.clean) - audio.level_db(noise)


def _store(folder: Path, waveforms: dict[str, np.ndarray], **more: dict) -> AudioStore:
    recordings = []
    for id, waveform in waveforms.items():
        audio.save(folder / f"{id}.wav", waveform, 16_000, subtype="FLOAT")
        values = {key: value[id] for key, value in more.items()}
        recordings.append(
            Recording(id=id, path=str(folder / f"{id}.wav"), sample_rate=16_000, samples=len(waveform), **values)
        )
    return AudioStore(recordings)


@pytest.fixture
def speech(tmp_path: Path) -> AudioStore:
    waveforms = {f"u{n}": 0.1 * _white(3_000 + 700 * n, n) for n in range(6)}
    speakers = dict(zip(waveforms, ["anna", "anna", "anna", "anna", "bob", None], strict=True))
    phones = {id: (Interval(0.0, 0.1, "AA"), Interval(0.1, len(w) / 16_000, "B")) for id, w in waveforms.items()}
    return _store(tmp_path, waveforms, speaker=speakers, text=dict.fromkeys(waveforms, "words"), phones=phones)


@pytest.fixture
def noise(tmp_path: Path) -> AudioStore:
    return _store(tmp_path, {f"n{n}": 0.3 * _white(4_000 + 900 * n, 50 + n) for n in range(4)})


# --- the store


def test_store_gives_back_what_is_in_the_files(tmp_path: Path) -> None:
    waveforms = {"loud": 3 * _white(500), "soft": 1e-5 * _white(500), "silent": np.zeros(50), "one": np.ones(1)}
    store = _store(tmp_path, waveforms)
    for index, waveform in enumerate(waveforms.values()):
        assert store[index].dtype == np.float32
        np.testing.assert_allclose(store[index], waveform, atol=np.abs(waveform).max() / 60_000)


def test_store_resamples_to_16_khz(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", 0.1 * _white(4_411), 44_100)
    store = AudioStore([Recording(id="a", path=str(tmp_path / "a.wav"), sample_rate=44_100, samples=4_411)])
    assert store[0].shape == (1_600,)


def test_store_decodes_once_for_any_number_of_threads(speech: AudioStore, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    load = audio.load
    monkeypatch.setattr(audio, "load", lambda path, rate: decoded.append(path) or load(path, rate))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(speech.__getitem__, [0, 1] * 20))
    assert len(decoded) == 2
    assert speech.preload() is speech
    assert sorted(decoded) == sorted(recording.path for recording in speech.recordings)


def test_preload_reports_progress_and_names_a_bad_file(speech: AudioStore, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    speech.preload(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 6) for number in range(1, 7)]
    gone = Recording(id="x", path=str(tmp_path / "gone.wav"), sample_rate=16_000, samples=5)
    with pytest.raises(AudioError, match=r"gone\.wav"):
        AudioStore([*speech.recordings, gone]).preload()


def test_files_with_nan_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.1, np.nan]), 16_000, subtype="FLOAT")
    store = AudioStore([Recording(id="a", path=str(tmp_path / "a.wav"), sample_rate=16_000, samples=2)])
    with pytest.raises(AudioError, match="1 of 2 samples are NaN"):
        store[0]


def test_store_travels_to_worker_processes(speech: AudioStore) -> None:
    first = speech[0]
    copy = pickle.loads(pickle.dumps(speech))
    np.testing.assert_array_equal(copy[0], first)
    np.testing.assert_array_equal(copy[1], speech[1])


# --- drawn mixtures


def _drawn(speech: AudioStore, noise: AudioStore, **changes) -> DrawnMixtures:
    values = {"size": 40, "snrs_db": SNRS_DB, "seed": 3, "crop_s": 0.2} | changes
    return DrawnMixtures(speech, noise, **values)


def _key(mixture: Mixture) -> tuple:
    return (mixture.id, mixture.noise_id, mixture.snr_db, mixture.noisy.tobytes(), mixture.clean.tobytes())


def test_a_drawn_mixture_is_a_function_of_seed_epoch_and_index(speech: AudioStore, noise: AudioStore) -> None:
    mixtures = _drawn(speech, noise)
    in_order = [_key(mixtures[index]) for index in range(40)]
    with ThreadPoolExecutor(4) as pool:
        fresh = _drawn(AudioStore(speech.recordings), AudioStore(noise.recordings), size=1_000)
        shuffled = np.random.default_rng(0).permutation(40)
        threads = dict(zip(shuffled, pool.map(lambda index: _key(fresh[index]), shuffled), strict=True))
    assert [threads[index] for index in range(40)] == in_order
    assert len(set(in_order)) == 40
    for change in ({"epoch": 1}, {"seed": 4}):
        assert not set(in_order) & {_key(_drawn(speech, noise, **change)[index]) for index in range(40)}
    mixtures.epoch = 1
    assert _key(mixtures[5]) == _key(_drawn(speech, noise, epoch=1)[5])


def test_drawn_mixtures_have_the_snr_they_say(speech: AudioStore, noise: AudioStore) -> None:
    mixtures = [_drawn(speech, noise)[index] for index in range(40)]
    assert {mixture.snr_db for mixture in mixtures} == set(SNRS_DB)
    assert {mixture.noise_id for mixture in mixtures} == {"n0", "n1", "n2", "n3"}
    for mixture in mixtures:
        assert _snr_db(mixture) == pytest.approx(mixture.snr_db, abs=0.01)
        assert mixture.noisy.dtype == mixture.clean.dtype == np.float32
        assert len(mixture.noisy) == len(mixture.clean) <= 3_200


def test_speakers_are_drawn_uniformly(speech: AudioStore, noise: AudioStore) -> None:
    by_speaker = Counter(m.speaker for m in (_drawn(speech, noise, size=300)[index] for index in range(300)))
    assert all(70 < by_speaker[speaker] < 130 for speaker in ("anna", "bob", None))
    flat = _drawn(speech, noise, size=300, by_speaker=False)
    by_utterance = Counter(flat[index].speaker for index in range(300))
    assert 160 < by_utterance["anna"] < 240


def test_whole_utterances_keep_text_and_phones(speech: AudioStore, noise: AudioStore) -> None:
    for crop_s in (None, 60.0):
        mixture = _drawn(speech, noise, crop_s=crop_s)[0]
        [recording] = [r for r in speech.recordings if mixture.id.startswith(f"{r.id}@")]
        assert len(mixture.clean) == recording.samples
        assert (mixture.text, mixture.phones) == ("words", recording.phones)


def test_phones_move_with_the_crop(tmp_path: Path, noise: AudioStore) -> None:
    # The sample values are their own positions, so that the crop tells where it was cut.
    waveform = np.arange(1, 16_001, dtype=np.float32) / 16_000
    phones = tuple(Interval(start / 10, (start + 1) / 10, str(start)) for start in range(10))
    speech = _store(tmp_path, {"ramp": waveform}, phones={"ramp": phones})
    mixtures = _drawn(speech, noise, crop_s=0.35)
    for index in range(20):
        mixture = mixtures[index]
        start_s = float(mixture.clean[0])
        assert mixture.text is None
        assert mixture.phones[0].start_s == 0
        assert mixture.phones[-1].end_s == pytest.approx(0.35)
        for (_, end_s, phone), following in zip(mixture.phones, mixture.phones[1:], strict=False):
            assert end_s == following.start_s
            assert end_s + start_s == pytest.approx((int(phone) + 1) / 10, abs=2e-4)


def test_silent_crops_are_drawn_again(tmp_path: Path, noise: AudioStore) -> None:
    half = np.concatenate([np.zeros(8_000), 0.1 * _white(8_000)])
    mixtures = _drawn(_store(tmp_path, {"half": half, "silent": np.zeros(9_000)}), noise, size=100, crop_s=0.05)
    assert all(mixtures[index].clean.any() for index in range(100))
    with pytest.raises(DataError, match="100 speech crops in a row were silent; the last was of only"):
        _drawn(_store(tmp_path, {"only": np.zeros(900)}), noise)[0]


def test_short_and_padded_noise(tmp_path: Path, speech: AudioStore) -> None:
    padded = np.concatenate([np.zeros(30_000), 0.2 * _white(1_000), np.zeros(30_000)])
    noise = _store(tmp_path, {"padded": padded, "ten_ms": 0.1 * _white(160), "one_sample": np.ones(1)})
    mixtures = _drawn(speech, noise)
    for index in range(30):
        assert _snr_db(mixtures[index]) == pytest.approx(mixtures[index].snr_db, abs=0.01)
        assert np.isfinite(mixtures[index].noisy).all()


def test_one_sample_and_ten_ms_of_speech(tmp_path: Path, noise: AudioStore) -> None:
    tiny = _store(tmp_path, {"one_sample": np.ones(1), "ten_ms": 0.1 * _white(160)})
    for mixtures in (_drawn(tiny, noise), PlannedMixtures(tiny, noise, snrs_db=SNRS_DB, seed=0)):
        for index in range(10):
            assert _snr_db(mixtures[index]) == pytest.approx(mixtures[index].snr_db, abs=0.01)


def test_silent_noise_is_named(tmp_path: Path, speech: AudioStore) -> None:
    silent = _store(tmp_path, {"quiet_room": np.zeros(5_000)})
    with pytest.raises(DataError, match=r"mixing u\d@.* with noise quiet_room: .* silent"):
        _drawn(speech, silent)[0]


def test_sets_that_cannot_be_drawn(speech: AudioStore, noise: AudioStore) -> None:
    with pytest.raises(DataError, match="no speech to mix"):
        _drawn(AudioStore([]), noise)
    with pytest.raises(DataError, match="no noise to mix"):
        _drawn(speech, AudioStore([]))
    with pytest.raises(DataError, match="no SNRs to mix"):
        _drawn(speech, noise, snrs_db=())
    with pytest.raises(DataError, match="crop_s is 0"):
        _drawn(speech, noise, crop_s=0)
    with pytest.raises(IndexError):
        _drawn(speech, noise)[40]


# --- planned mixtures


def test_every_utterance_at_every_snr(speech: AudioStore, noise: AudioStore) -> None:
    planned = PlannedMixtures(speech, noise, snrs_db=SNRS_DB, seed=0)
    mixtures = [planned[index] for index in range(len(planned))]
    assert [m.id for m in mixtures] == [f"{r.id}@{snr:g}dB" for r in speech.recordings for snr in SNRS_DB]
    for mixture in mixtures:
        assert _snr_db(mixture) == pytest.approx(mixture.snr_db, abs=0.01)
        assert mixture.text == "words"


def test_a_planned_mixture_depends_on_seed_utterance_and_snr_only(speech: AudioStore, noise: AudioStore) -> None:
    planned = PlannedMixtures(speech, noise, snrs_db=SNRS_DB, seed=0)
    whole = {planned[index].id: _key(planned[index]) for index in range(len(planned))}
    fewer = PlannedMixtures(AudioStore(speech.recordings[:1:-1]), noise, snrs_db=SNRS_DB[:2], seed=0)
    for index in range(len(fewer)):
        assert _key(fewer[index]) == whole[fewer[index].id]
    other = PlannedMixtures(speech, noise, snrs_db=SNRS_DB, seed=1)
    assert any(_key(other[index]) != whole[other[index].id] for index in range(len(other)))


@pytest.mark.parametrize("per_utterance", [1, 2, 3, 5])
def test_some_snrs_of_each_utterance_are_balanced_over_the_set(
    speech: AudioStore, noise: AudioStore, per_utterance: int
) -> None:
    planned = PlannedMixtures(speech, noise, snrs_db=SNRS_DB, seed=0, per_utterance=per_utterance)
    ids = [planned[index].id for index in range(len(planned))]
    assert len(set(ids)) == len(ids) == 6 * per_utterance
    counts = Counter(id.split("@")[1] for id in ids)
    assert len(counts) == 5
    assert max(counts.values()) - min(counts.values()) <= 1
    backwards = PlannedMixtures(
        AudioStore(speech.recordings[::-1]), noise, snrs_db=SNRS_DB, seed=0, per_utterance=per_utterance
    )
    assert sorted(backwards[index].id for index in range(len(backwards))) == sorted(ids)


def test_plans_that_cannot_be_made(tmp_path: Path, speech: AudioStore, noise: AudioStore) -> None:
    with pytest.raises(DataError, match="per_utterance is 6, but there are 5 SNRs"):
        PlannedMixtures(speech, noise, snrs_db=SNRS_DB, seed=0, per_utterance=6)
    silent = PlannedMixtures(_store(tmp_path, {"mute": np.zeros(99)}), noise, snrs_db=[0], seed=0)
    with pytest.raises(DataError, match=r"mixing mute@0dB with noise n\d: the speech is silent"):
        silent[0]
