"""Recordings in memory as float32 `[sample]` at 16 kHz, and the noise of mixtures: parts of them, or babble."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from phonemi import audio
from phonemi.constants import SAMPLE_RATE
from phonemi.data.manifest import Recording, speaker_of
from phonemi.errors import DataError
from phonemi.tables import plural

# The decoder gives exactly as many samples as the header says, or fails. Of other formats it may give fewer.
_EXACT_SUFFIXES = (".wav", ".flac")
_MAX_DRAWS = 100  # enough for a clip that is nine tenths pause; usually the first draw will do
# Samples below -80 dB of the clip's peak are padding: exact zeros, or what a lossy codec made of them.
_MAX_PADDING = 1e-4
# A piece this far below its clip would need a hundred times the gain: it is a pause, not the noise of the clip.
_PAUSE_DB = 40.0
_MIN_VOICES, _MAX_VOICES = 3, 7  # as in Kaldi's recipes; fewer can be followed, more become a hum
_MIN_SPOKEN = 0.01  # samples more than 40 dB below the peak count as pauses when the level of a voice is measured


class AudioStore:
    """Recordings kept in memory as 16-bit integers, each scaled to its own peak: 32 kB per second.

    `store[i]` is float32 `[sample]` at 16 kHz; it is decoded when it is first asked for, by whichever thread.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.recordings = list(recordings)
        self._packed: list[tuple[np.ndarray, float] | None] = [None] * len(self.recordings)
        self._locks = [threading.Lock() for _ in self.recordings]

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> np.ndarray:
        with self._locks[index]:
            packed = self._packed[index]
            if packed is None:
                packed = self._packed[index] = _pack(audio.load(self.recordings[index].path, SAMPLE_RATE))
        integers, scale = packed
        return integers * np.float32(scale)

    def samples(self, index: int) -> int:
        """Length of `store[index]`; decodes it only where the manifest does not tell the length exactly."""
        recording = self.recordings[index]
        if Path(recording.path).suffix.lower() not in _EXACT_SUFFIXES:
            return len(self[index])
        return round(recording.samples * SAMPLE_RATE / recording.sample_rate)  # as `audio.resample`


class NoiseStore:
    """Draws the noise of mixtures: pieces of the clips of a noise corpus, and babble made of other people's speech.

    Args:
        noise: the clips.
        speech: recordings to make babble of; not used if `babble_share` is 0.
        babble_share: probability that a draw is babble, 0 to 1.

    Raises:
        DataError: if babble is asked for with fewer than two recordings of speech.
    """

    def __init__(self, noise: AudioStore, speech: AudioStore | None = None, babble_share: float = 0.0) -> None:
        self.noise, self.babble_share = noise, babble_share
        self._speech = AudioStore([]) if speech is None or not babble_share else speech
        if babble_share and len(self._speech) < 2:
            raise DataError(
                f"babble_share is {babble_share:g}: babble takes two recordings of speech at least, "
                f"found {len(self._speech)}; add speech or set babble_share to 0"
            )
        self._speakers: dict[str, list[int]] = {}
        for index, recording in enumerate(self._speech.recordings):
            self._speakers.setdefault(speaker_of(recording), []).append(index)

    def __len__(self) -> int:
        """Number of clips; babble is not counted."""
        return len(self.noise)

    def draw(self, samples: int, rng: np.random.Generator, speaker: str | None = None) -> tuple[str, np.ndarray]:
        """Draw a piece of noise: a random part of a random clip, or babble.

        The order of the random draws is a contract: published results can be repeated only as long as it holds.

        1. `rng.random()` decides between babble and clip; only if `babble_share` is above 0.
        2. Clip: `rng.integers(number of clips)`, then `noise_segment`.
        3. Babble: `rng.integers(3, 8)`, the number of voices; `rng.permutation(number of other speakers)`, whose they
           are; then for each voice `rng.integers(number of recordings of the speaker)` and `noise_segment`.

        `noise_segment` draws one `rng.integers` for the start of the piece, and another for every pause it draws again.

        `speaker`, who speaks in the mixture (`manifest.speaker_of`), is left out of the babble if others are there.

        Returns:
            The id of the clip or of the babble ("babble(a+b+c)", the recordings in it), and float32 `[samples]`.

        Raises:
            DataError: naming the clip or recording, if it is silent.
        """
        if self.babble_share and rng.random() < self.babble_share:
            return self._draw_babble(samples, rng, speaker)
        return _piece_of(self.noise, int(rng.integers(len(self.noise))), samples, rng)

    def _draw_babble(self, samples: int, rng: np.random.Generator, speaker: str | None) -> tuple[str, np.ndarray]:
        """Three to seven speakers at one level; fewer if there are fewer, one of them twice if there is only one."""
        others = [recordings for name, recordings in sorted(self._speakers.items()) if name != speaker]
        others = others or list(self._speakers.values())
        voices = int(rng.integers(_MIN_VOICES, _MAX_VOICES + 1))
        order = rng.permutation(len(others))
        ids, babble = [], np.zeros(samples, dtype=np.float32)
        for turn in range(max(2, min(voices, len(others)))):
            recordings = others[order[turn % len(others)]]
            index = recordings[rng.integers(len(recordings))]
            id, piece = _piece_of(self._speech, index, samples, rng)
            ids.append(id)
            babble += piece / np.float32(_spoken_rms(self._speech[index]))
        return f"babble({'+'.join(ids)})", babble


def _pack(waveform: np.ndarray) -> tuple[np.ndarray, float]:
    """16-bit integers and the factor that restores the waveform, with an error of at most 1/65534 of the peak."""
    peak = float(np.abs(waveform).max(initial=0.0))
    scale = peak / 32767 if peak > 1e-30 else 1.0  # below that the quotient would leave the range of float32
    return np.round(waveform / scale).astype(np.int16), scale


def noise_segment(clip: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random piece, `[samples]`, out of a noise clip, `[m]`, repeating the clip if it is short.

    The padding at both ends of the clip is never used. A piece more than 40 dB below the clip is a pause and is drawn
    again; a clip that is nearly all pause gives a piece around its loudest sample.

    Raises:
        DataError: if the clip is empty, silent or not finite.
    """
    magnitude = np.abs(clip)
    peak = float(magnitude.max(initial=0.0))
    if not 0 < peak < np.inf:
        raise DataError(f"a noise clip of {plural(len(clip), 'sample')} is silent or not finite")
    first, last = np.flatnonzero(magnitude > _MAX_PADDING * peak)[[0, -1]]
    clip = clip[first : last + 1]
    if len(clip) < samples:
        return np.take(clip, np.arange(samples) + rng.integers(len(clip)), mode="wrap")
    floor_db = audio.level_db(clip) - _PAUSE_DB
    for _ in range(_MAX_DRAWS):
        start = rng.integers(len(clip) - samples + 1)
        if audio.level_db(clip[start : start + samples]) >= floor_db:
            return clip[start : start + samples]
    start = np.clip(np.abs(clip).argmax() - rng.integers(samples), 0, len(clip) - samples)
    return clip[start : start + samples]


def _piece_of(store: AudioStore, index: int, samples: int, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    id = store.recordings[index].id
    try:
        return id, noise_segment(store[index], samples, rng)
    except DataError as error:
        raise DataError(f"noise {id}: {error}") from None


def _spoken_rms(speech: np.ndarray) -> float:
    """Root mean square of the samples that are not pause."""
    magnitude = np.abs(speech)
    spoken = magnitude[magnitude >= _MIN_SPOKEN * magnitude.max()].astype(np.float64)
    return float(np.sqrt(spoken @ spoken / len(spoken)))
