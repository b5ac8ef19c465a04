"""Sets of mixtures: each mixture is a function of (seed, epoch, index), on any number of threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi import audio
from phonemi.config import Augment
from phonemi.data.manifest import Interval, Recording
from phonemi.data.mixing import DrawnMixtures, Mixture, PlannedMixtures, generator, mix_at_snr
from phonemi.data.store import AudioStore, NoiseStore, noise_segment
from phonemi.errors import DataError

MakeStore = Callable[..., AudioStore]

SNRS_DB = (-10, -5, 0, 2.5, 5)


def _white(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def _snr_db(mixture: Mixture) -> float:
    noise = mixture.noisy.astype(np.float64) - mixture.clean
    return audio.level_db(mixture.clean) - audio.level_db(noise)


@pytest.fixture
def speech(make_store: MakeStore) -> AudioStore:
    waveforms = {f"u{n}": 0.1 * _white(3_000 + 700 * n, n) for n in range(6)}
    speakers = dict(zip(waveforms, ["anna", "anna", "anna", "anna", "bob", None], strict=True))
    phones = {id: (Interval(0.0, 0.1, "AA"), Interval(0.1, len(w) / 16_000, "B")) for id, w in waveforms.items()}
    return make_store(waveforms, speaker=speakers, text=dict.fromkeys(waveforms, "words"), phones=phones)


@pytest.fixture
def noise(make_store: MakeStore) -> NoiseStore:
    return NoiseStore(make_store({f"n{n}": 0.3 * _white(4_000 + 900 * n, 50 + n) for n in range(4)}))


# --- drawn mixtures


def _drawn(speech: AudioStore, noise: NoiseStore, **changes) -> DrawnMixtures:
    values = {"size": 40, "snrs_db": SNRS_DB, "seed": 3, "crop_s": 0.2} | changes
    return DrawnMixtures(speech, noise, **values)


def _key(mixture: Mixture) -> tuple:
    return (mixture.id, mixture.noise_id, mixture.snr_db, mixture.noisy.tobytes(), mixture.clean.tobytes())


def test_a_drawn_mixture_is_a_function_of_seed_epoch_and_index(speech: AudioStore, noise: NoiseStore) -> None:
    mixtures = _drawn(speech, noise)
    in_order = [_key(mixtures[index]) for index in range(40)]
    with ThreadPoolExecutor(4) as pool:
        fresh = _drawn(AudioStore(speech.recordings), NoiseStore(AudioStore(noise.noise.recordings)), size=1_000)
        shuffled = np.random.default_rng(0).permutation(40)
        threads = dict(zip(shuffled, pool.map(lambda index: _key(fresh[index]), shuffled), strict=True))
    assert [threads[index] for index in range(40)] == in_order
    assert len(set(in_order)) == 40
    for change in ({"epoch": 1}, {"seed": 4}):
        assert not set(in_order) & {_key(_drawn(speech, noise, **change)[index]) for index in range(40)}
    mixtures.epoch = 1
    assert _key(mixtures[5]) == _key(_drawn(speech, noise, epoch=1)[5])


def test_drawn_mixtures_have_the_snr_they_say(speech: AudioStore, noise: NoiseStore) -> None:
    mixtures = [_drawn(speech, noise)[index] for index in range(40)]
    assert {mixture.snr_db for mixture in mixtures} == set(SNRS_DB)
    assert {mixture.noise_id for mixture in mixtures} == {"n0", "n1", "n2", "n3"}
    for mixture in mixtures:
        assert _snr_db(mixture) == pytest.approx(mixture.snr_db, abs=0.01)
        assert mixture.noisy.dtype == mixture.clean.dtype == np.float32
        assert len(mixture.noisy) == len(mixture.clean) <= 3_200


def test_speakers_are_drawn_uniformly(speech: AudioStore, noise: NoiseStore) -> None:
    by_speaker = Counter(m.speaker for m in (_drawn(speech, noise, size=300)[index] for index in range(300)))
    assert all(70 < by_speaker[speaker] < 130 for speaker in ("anna", "bob", None))


def test_whole_utterances_keep_their_text_and_crops_do_not(speech: AudioStore, noise: NoiseStore) -> None:
    for crop_s in (None, 60.0):
        mixture = _drawn(speech, noise, crop_s=crop_s)[0]
        [recording] = [r for r in speech.recordings if mixture.id.startswith(f"{r.id}@")]
        assert len(mixture.clean) == recording.samples
        assert mixture.text == "words"
    assert _drawn(speech, noise, crop_s=0.1)[0].text is None


def test_silent_crops_are_drawn_again(make_store: MakeStore, noise: NoiseStore) -> None:
    half = np.concatenate([np.zeros(8_000), 0.1 * _white(8_000)])
    mixtures = _drawn(make_store({"half": half, "silent": np.zeros(9_000)}), noise, size=100, crop_s=0.05)
    assert all(mixtures[index].clean.any() for index in range(100))
    with pytest.raises(DataError, match="100 speech crops in a row were silent; the last was of only"):
        _drawn(make_store({"only": np.zeros(900)}), noise)[0]


def test_short_and_padded_noise(make_store: MakeStore, speech: AudioStore) -> None:
    padded = np.concatenate([np.zeros(30_000), 0.2 * _white(1_000), np.zeros(30_000)])
    noise = NoiseStore(make_store({"padded": padded, "ten_ms": 0.1 * _white(160), "one_sample": np.ones(1)}))
    mixtures = _drawn(speech, noise)
    for index in range(30):
        assert _snr_db(mixtures[index]) == pytest.approx(mixtures[index].snr_db, abs=0.01)
        assert np.isfinite(mixtures[index].noisy).all()


def test_one_sample_and_ten_ms_of_speech(make_store: MakeStore, noise: NoiseStore) -> None:
    tiny = make_store({"one_sample": np.ones(1), "ten_ms": 0.1 * _white(160)})
    for mixtures in (_drawn(tiny, noise), PlannedMixtures(tiny, noise, snrs_db=SNRS_DB, seed=0)):
        for index in range(10):
            assert _snr_db(mixtures[index]) == pytest.approx(mixtures[index].snr_db, abs=0.01)


def test_silent_noise_is_named(make_store: MakeStore, speech: AudioStore) -> None:
    silent = NoiseStore(make_store({"quiet_room": np.zeros(5_000)}))
    with pytest.raises(DataError, match=r"mixing u\d@.* with noise quiet_room: .* silent"):
        _drawn(speech, silent)[0]


def test_babble_is_never_of_the_speaker_who_is_disturbed(speech: AudioStore, noise: NoiseStore) -> None:
    with_babble = NoiseStore(noise.noise, speech, babble_share=0.5)
    mixtures = [_drawn(speech, with_babble)[index] for index in range(40)]
    own = {r.id: r.speaker or f"unknown:{r.id}" for r in speech.recordings}
    babble = [mixture for mixture in mixtures if mixture.noise_id.startswith("babble(")]
    assert 10 < len(babble) < 30
    for mixture in babble:
        others = {own[id] for id in mixture.noise_id[len("babble(") : -1].split("+")}
        assert own[mixture.id.split("@")[0]] not in others
        assert len(others) == 2
        assert _snr_db(mixture) == pytest.approx(mixture.snr_db, abs=0.01)


@pytest.mark.slow
def test_augmentation_changes_nothing_that_is_drawn(speech: AudioStore, noise: NoiseStore) -> None:
    plain, off = _drawn(speech, noise), _drawn(speech, noise, augmentation=Augment())
    everything = Augment(reverb_share=1, band_limit_share=0.5, gain_db=(-10, 5))
    changed = _drawn(speech, noise, augmentation=everything)
    for index in range(10):
        assert _key(off[index]) == _key(plain[index])
        assert _key(changed[index]) == _key(changed[index])
        assert _key(changed[index])[:3] == _key(plain[index])[:3]
        assert changed[index].clean.shape == changed[index].noisy.shape == plain[index].clean.shape
        assert not np.array_equal(changed[index].clean, plain[index].clean)
    louder = _drawn(speech, noise, augmentation=Augment(gain_db=(6, 6)))[0]
    np.testing.assert_allclose(louder.noisy, plain[0].noisy * 10**0.3, rtol=1e-6)
    np.testing.assert_allclose(louder.clean, plain[0].clean * 10**0.3, rtol=1e-6)


def test_mixtures_are_those_of_the_first_version(speech: AudioStore, noise: NoiseStore) -> None:
    """Results that were published before there was babble can be made again."""
    mixtures = _drawn(speech, noise)
    found = [(mixtures[index].id, mixtures[index].noise_id, mixtures[index].noisy[:2]) for index in range(3)]
    golden = [
        ("u0@5dB#0.0", "n2", (-0.012452, 0.057283)),
        ("u5@2.5dB#0.1", "n2", (0.231217, -0.024417)),
        ("u3@5dB#0.2", "n2", (0.243918, -0.058191)),
    ]
    for (id, noise_id, samples), expected in zip(found, golden, strict=True):
        assert (id, noise_id) == expected[:2]
        np.testing.assert_allclose(samples, expected[2], rtol=1e-4)


def test_sets_that_cannot_be_drawn(speech: AudioStore, noise: NoiseStore) -> None:
    with pytest.raises(DataError, match="no speech to mix"):
        _drawn(AudioStore([]), noise)
    with pytest.raises(DataError, match="no noise to mix"):
        _drawn(speech, NoiseStore(AudioStore([])))
    with pytest.raises(DataError, match="no SNRs to mix"):
        _drawn(speech, noise, snrs_db=())
    with pytest.raises(DataError, match="crop_s is 0"):
        _drawn(speech, noise, crop_s=0)
    with pytest.raises(IndexError):
        _drawn(speech, noise)[40]


# --- planned mixtures


def test_every_utterance_at_every_snr(speech: AudioStore, noise: NoiseStore) -> None:
    planned = PlannedMixtures(speech, noise, snrs_db=SNRS_DB, seed=0)
    mixtures = [planned[index] for index in range(len(planned))]
    assert [m.id for m in mixtures] == [f"{r.id}@{snr:g}dB" for r in speech.recordings for snr in SNRS_DB]
    for mixture in mixtures:
        assert _snr_db(mixture) == pytest.approx(mixture.snr_db, abs=0.01)
        assert mixture.text == "words"


def test_a_planned_mixture_depends_on_seed_utterance_and_snr_only(speech: AudioStore, noise: NoiseStore) -> None:
    planned = PlannedMixtures(speech, noise, snrs_db=SNRS_DB, seed=0)
    whole = {planned[index].id: _key(planned[index]) for index in range(len(planned))}
    fewer = PlannedMixtures(AudioStore(speech.recordings[:1:-1]), noise, snrs_db=SNRS_DB[:2], seed=0)
    for index in range(len(fewer)):
        assert _key(fewer[index]) == whole[fewer[index].id]
    other = PlannedMixtures(speech, noise, snrs_db=SNRS_DB, seed=1)
    assert any(_key(other[index]) != whole[other[index].id] for index in range(len(other)))


def test_without_babble_a_planned_mixture_is_made_of_plain_calls(speech: AudioStore, noise: NoiseStore) -> None:
    planned = PlannedMixtures(speech, noise, snrs_db=SNRS_DB, seed=0)
    for index in range(len(planned)):
        mixture = planned[index]
        rng = generator(0, "planned", mixture.id.partition("@")[0], 0)
        clip = int(rng.integers(4))
        noisy, _ = mix_at_snr(mixture.clean, noise_segment(noise.noise[clip], len(mixture.clean), rng), mixture.snr_db)
        assert mixture.noise_id == f"n{clip}"
        assert mixture.noisy.tobytes() == noisy.tobytes()


def test_an_utterance_is_in_the_same_noise_at_every_snr(speech: AudioStore, noise: NoiseStore) -> None:
    planned = PlannedMixtures(speech, noise, snrs_db=SNRS_DB, seed=0, clips=2)
    added: dict[tuple[str, str], list[np.ndarray]] = {}
    for index in range(len(planned)):
        mixture = planned[index]
        source, _, end = mixture.id.partition("@")
        difference = (mixture.noisy - mixture.clean).astype(np.float64)
        added.setdefault((source, end.partition("#")[2]), []).append(difference / np.linalg.norm(difference))
    assert len(added) == 2 * len(speech.recordings)
    for shapes in added.values():
        assert len(shapes) == len(SNRS_DB)
        assert all(np.dot(shapes[0], shape) > 0.9999 for shape in shapes)
    firsts = [shapes[0] for (source, _), shapes in added.items() if source == speech.recordings[0].id]
    assert abs(np.dot(*firsts)) < 0.9


@pytest.mark.parametrize("per_utterance", [1, 2, 3, 5])
def test_some_snrs_of_each_utterance_are_balanced_over_the_set(
    speech: AudioStore, noise: NoiseStore, per_utterance: int
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


def test_plans_that_cannot_be_made(make_store: MakeStore, speech: AudioStore, noise: NoiseStore) -> None:
    with pytest.raises(DataError, match="per_utterance is 6, but there are 5 SNRs"):
        PlannedMixtures(speech, noise, snrs_db=SNRS_DB, seed=0, per_utterance=6)
    silent = PlannedMixtures(make_store({"mute": np.zeros(99)}), noise, snrs_db=[0], seed=0)
    with pytest.raises(DataError, match=r"mixing mute@0dB with noise n\d: the speech is silent"):
        silent[0]


# --- facts


@pytest.fixture
def many_formats(tmp_path: Path) -> list[Recording]:
    """Recordings whose length at 16 kHz has to be rounded, is doubled, or is not what an mp3 header says."""
    recordings = []
    for name, rate in [("a.wav", 44_100), ("b.flac", 22_050), ("c.wav", 8_000), ("d.mp3", 44_100), ("e.ogg", 48_000)]:
        path = tmp_path / name
        audio.save(path, 0.1 * _white(rate // 3 + 7), rate)
        samples = audio.probe(path).samples
        phones = (Interval(0.0, 0.1, "AA"), Interval(0.1, samples / rate, "B"))
        recordings.append(
            Recording(
                id=name, path=str(path), sample_rate=rate, samples=samples, speaker="s", text="words", phones=phones
            )
        )
    return recordings


def test_planned_mixtures_are_what_is_said_of_them(
    speech: AudioStore, noise: NoiseStore, many_formats: list[Recording]
) -> None:
    for recordings in (speech.recordings, many_formats):
        planned = PlannedMixtures(AudioStore(recordings), noise, snrs_db=SNRS_DB, seed=0, per_utterance=2)
        facts = [planned.describe(index) for index in range(len(planned))]
        assert planned.ids() == [fact.id for fact in facts]
        for fact, mixture in zip(facts, map(planned.__getitem__, range(len(planned))), strict=True):
            expected = (mixture.id, mixture.speaker, mixture.snr_db, len(mixture.noisy))
            assert (fact.id, fact.speaker, fact.snr_db, fact.samples) == expected
            [recording] = [recording for recording in recordings if recording.id == fact.utterance_id]
            assert fact.id.startswith(f"{recording.id}@")
            assert fact.phones == recording.phones


def test_planned_mixtures_are_described_without_reading_a_file(noise: NoiseStore) -> None:
    absent = Recording(id="a", path="/absent/a.flac", sample_rate=44_100, samples=44_100, speaker="s")
    planned = PlannedMixtures(AudioStore([absent]), noise, snrs_db=[0], seed=0)
    assert planned.describe(0).samples == 16_000


@given(samples=st.integers(1, 2_000), rate=st.integers(4_000, 96_000))
def test_the_length_at_16_khz_is_that_of_the_resampler(samples: int, rate: int) -> None:
    store = AudioStore([Recording(id="a", path="/absent/a.flac", sample_rate=rate, samples=samples)])
    assert store.samples(0) == len(audio.resample(np.zeros(samples), rate, 16_000))
