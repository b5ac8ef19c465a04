"""Noise: pieces of clips are never silent, babble is made of other people at one level, chance is used as before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi import audio
from phonemi.config import load_config
from phonemi.data.mixing import generator
from phonemi.data.store import AudioStore, NoiseStore, noise_segment
from phonemi.errors import DataError
from phonemi.stages.run import Run

MakeStore = Callable[..., AudioStore]


def _white(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def _tone(hz: float, samples: int, level: float) -> np.ndarray:
    """A voice that can be told from the others, after a pause."""
    tone = level * np.sin(2 * np.pi * hz * np.arange(samples) / 16_000)
    return np.concatenate([np.zeros(800), tone]).astype(np.float32)


@pytest.fixture
def noise(make_store: MakeStore) -> AudioStore:
    return make_store({f"n{n}": 0.3 * _white(4_000 + 900 * n, 50 + n) for n in range(4)})


@pytest.fixture
def speech(make_store: MakeStore) -> AudioStore:
    """Nine speakers with a tone of their own each, 100 Hz times their number, at levels 60 dB apart."""
    waveforms = {f"u{n}": _tone(100 * n, 16_000 + 160 * n, 10 ** (-3 * (n % 2))) for n in range(1, 10)}
    return make_store(waveforms, speaker={id: f"s{id[1:]}" for id in waveforms})


def voices(noise_id: str) -> list[str]:
    assert noise_id.startswith("babble("), noise_id
    assert noise_id.endswith(")")
    return noise_id[len("babble(") : -1].split("+")


# --- pieces of noise


@given(clip=st.integers(1, 3_000), samples=st.integers(1, 3_000), seed=st.integers(0, 99))
def test_a_segment_has_the_length_asked_and_samples_of_the_clip(clip: int, samples: int, seed: int) -> None:
    waveform = 1 + np.arange(clip, dtype=np.float32)
    segment = noise_segment(waveform, samples, generator(seed))
    assert segment.shape == (samples,)
    steps = np.diff(segment)
    assert set(np.unique(steps)) <= {1.0, float(1 - clip)}, "neighbours in the clip, or its end and its start"


def test_starts_cover_the_clip() -> None:
    starts = {int(noise_segment(1 + np.arange(20.0), 16, generator(seed))[0]) for seed in range(200)}
    assert starts == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("padding", [0.0, 1e-6])
def test_zero_padding_of_a_clip_is_never_used(padding: float) -> None:
    # ESC-50 pads short sounds to 5 s; mixing a tile of zeros would ask for an infinite gain.
    clip = np.full(80_000, padding, dtype=np.float32)
    clip[30_000:34_000] = _white(4_000)
    for seed in range(20):
        segment = noise_segment(clip, 16_000, generator(seed))
        assert audio.level_db(segment) == pytest.approx(audio.level_db(clip[30_000:34_000]), abs=0.5)


def test_a_pause_in_a_clip_is_drawn_again() -> None:
    clip = np.zeros(50_000, dtype=np.float32)
    clip[:8_000], clip[-8_000:] = _white(8_000), _white(8_000, 1)
    for seed in range(50):
        assert noise_segment(clip, 4_000, generator(seed)).any()


def test_one_click_in_a_long_pause_is_found() -> None:
    clip = np.zeros(800_000, dtype=np.float32)
    clip[[0, 410_000, -1]] = 0.5, 1.0, 0.5
    found = [noise_segment(clip, 160, generator(seed)) for seed in range(20)]
    assert all(segment.max() >= 0.5 for segment in found)
    assert len({int(segment.argmax()) for segment in found}) > 5, "the click is not always at the same place"


@pytest.mark.parametrize("clip", [np.zeros(100), np.zeros(0), np.full(9, np.nan), np.array([1.0, np.inf])])
def test_a_clip_without_noise(clip: np.ndarray) -> None:
    with pytest.raises(DataError, match=f"a noise clip of {len(clip)} samples is silent or not finite"):
        noise_segment(clip, 10, generator(0))


# --- the store


@pytest.mark.parametrize("with_speech", [False, True])
def test_without_babble_chance_is_used_as_by_plain_calls(
    noise: AudioStore, speech: AudioStore, with_speech: bool
) -> None:
    store = NoiseStore(noise, speech if with_speech else None)
    ours, plain = generator(5), generator(5)
    for samples in (100, 4_500, 9_000) * 5:
        id, segment = store.draw(samples, ours, speaker="s1")
        index = int(plain.integers(len(noise)))
        assert id == f"n{index}"
        assert segment.tobytes() == noise_segment(noise[index], samples, plain).tobytes()
        assert segment.dtype == np.float32
    assert ours.bit_generator.state == plain.bit_generator.state
    assert len(store) == 4


def test_the_order_of_the_random_draws_is_a_contract(noise: AudioStore, speech: AudioStore) -> None:
    """Results that were published can be made again only if every draw stays where it is."""
    store, rng = NoiseStore(noise, speech, babble_share=0.5), generator(7)
    drawn = [store.draw(1_000, rng, speaker="s4") for _ in range(6)]
    golden = [
        ("babble(u5+u2+u1+u6+u3+u9)", -1.7953),
        ("babble(u2+u9+u3+u8)", -1.64799),
        ("n0", -0.25135),
        ("babble(u9+u7+u1+u5+u8+u3+u6)", -4.15555),
        ("babble(u8+u6+u3+u9+u5+u2)", -3.01897),
        ("n0", 0.40823),
    ]
    assert [id for id, _ in drawn] == [id for id, _ in golden]
    np.testing.assert_allclose([piece[0] for _, piece in drawn], [first for _, first in golden], rtol=1e-4)
    assert rng.integers(1_000_000) == 169_736, "as many numbers were drawn"


def test_a_share_of_the_draws_is_babble(noise: AudioStore, speech: AudioStore) -> None:
    store, rng = NoiseStore(noise, speech, babble_share=0.25), generator(0)
    kinds = Counter(store.draw(50, rng)[0][0] for _ in range(400))
    assert kinds["b"] == pytest.approx(100, abs=30)
    assert kinds["n"] == 400 - kinds["b"]


def test_babble_is_three_to_seven_other_speakers_at_one_level(noise: AudioStore, speech: AudioStore) -> None:
    store = NoiseStore(noise, speech, babble_share=1)
    counts = set()
    for seed in range(40):
        id, babble = store.draw(16_000, generator(seed), speaker="s4")
        found = voices(id)
        counts.add(len(found))
        assert len(set(found)) == len(found)
        assert "u4" not in found
        assert babble.shape == (16_000,)
        assert babble.dtype == np.float32
        power = np.abs(np.fft.rfft(babble)) ** 2
        loud = [power[100 * n - 20 : 100 * n + 21].sum() for n in range(1, 10)]
        heard = [f"u{n}" for n, level in enumerate(loud, start=1) if level > 0.1 * max(loud)]
        assert heard == sorted(found), "every voice is heard, whatever the level of its recording"
    assert counts == {3, 4, 5, 6, 7}


def test_babble_starts_anywhere_and_fills_any_length(noise: AudioStore, speech: AudioStore) -> None:
    store = NoiseStore(noise, speech, babble_share=1)
    drawn = [store.draw(50_000, generator(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0][1], drawn[1][1])
    assert not np.array_equal(drawn[0][1], drawn[2][1])
    assert all(
        np.abs(babble[start : start + 2_000]).max() > 0.1 for _, babble in drawn for start in range(0, 48_000, 2_000)
    )
    assert store.draw(1, generator(3))[1].shape == (1,)


@pytest.mark.parametrize(
    ("speakers", "disturbed", "expected"),
    [
        (("a", "b", "c"), "c", {"u0", "u1"}),
        (("a", "b", "b"), "b", {"u0"}),  # one voice twice: better than the speaker over himself
        (("a", "a", "a"), "a", {"u0", "u1", "u2"}),  # it cannot be avoided
        ((None, None, None), "unknown:u1", {"u0", "u2"}),
    ],
)
def test_few_speakers(
    make_store: MakeStore, noise: AudioStore, speakers: tuple, disturbed: str, expected: set[str]
) -> None:
    waveforms = {f"u{n}": _white(3_000, n) for n in range(3)}
    store = NoiseStore(noise, make_store(waveforms, speaker=dict(zip(waveforms, speakers, strict=True))), 1.0)
    drawn = [voices(store.draw(500, generator(seed), disturbed)[0]) for seed in range(20)]
    assert {len(ids) for ids in drawn} == {2}
    assert {id for ids in drawn for id in ids} == expected


def test_noise_that_cannot_be_made(make_store: MakeStore, noise: AudioStore) -> None:
    one = make_store({"u0": _white(300)})
    for speech in (None, AudioStore([]), one):
        with pytest.raises(DataError, match=r"babble_share is 0\.5: babble takes two.*, found [01];"):
            NoiseStore(noise, speech, 0.5)
    mute = make_store({"m0": np.zeros(300), "m1": np.zeros(300)})
    with pytest.raises(DataError, match=r"^noise m\d: a noise clip of 300 samples is silent"):
        NoiseStore(noise, mute, 1).draw(100, generator(0))
    with pytest.raises(DataError, match=r"^noise m\d: a noise clip of 300 samples is silent"):
        NoiseStore(mute).draw(100, generator(0))


def test_a_run_makes_babble_of_the_speakers_of_the_split(corpus: Any, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", load_config(None, [*corpus.settings, "data.babble_share=0.5"]))
    assert run.data.noise_store("train") is run.data.noise_store("train")
    for split in ("train", "validation", "test"):
        ids = [run.data.noise_store(split).draw(1_000, generator(seed))[0] for seed in range(20)]
        heard = {id for noise_id in ids if "babble" in noise_id for id in voices(noise_id)}
        clips = {id for id in ids if "babble" not in id}
        assert heard
        assert clips
        assert heard <= {recording.id for recording in run.data.speech[split]}
        assert clips <= {recording.id for recording in run.data.noise[split]}
