"""Noise clips, and speech for babble -> a piece of noise `[sample]` of any length: what speech is mixed with."""

from __future__ import annotations

import numpy as np

from phonemi import audio
from phonemi.data.manifest import speaker_of
from phonemi.data.store import AudioStore
from phonemi.errors import DataError

_DRAWS = 100  # enough for a clip that is nine tenths pause; a sound one needs a single draw
# Below -80 dB of its own peak a clip holds padding: exact zeros, or what a lossy codec made of them.
_PADDING = 1e-4
# A segment this far below its clip would need a hundred times the gain: a pause, not the noise that was asked for.
_PAUSE_DB = 40.0
_VOICES = (3, 7)  # in a babble, as in Kaldi's recipes; fewer can be followed, more are a hum
_SPOKEN = 0.01  # of the peak: samples below -40 dB are taken for pauses when a voice's level is measured


class NoiseStore:
    """Where mixtures get their noise: clips of a noise corpus, and babble made of other people's speech.

    Attributes:
        noise: the clips.
        babble_share: probability that a draw is babble.
    """

    def __init__(self, noise: AudioStore, speech: AudioStore | None = None, babble_share: float = 0.0) -> None:
        """Nothing is read yet.

        Args:
            noise: the clips.
            speech: what babble is made of; not looked at when there is to be none.
            babble_share: probability that a draw is babble, 0 to 1.

        Raises:
            DataError: if there is to be babble of fewer than two recordings, or the share is out of its range.
        """
        if not 0 <= babble_share <= 1:
            raise DataError(f"babble_share is {babble_share}: a share lies between 0 and 1")
        self.noise, self.babble_share = noise, babble_share
        self._speech = AudioStore([]) if speech is None or not babble_share else speech
        if babble_share and len(self._speech) < 2:
            raise DataError(
                f"babble_share is {babble_share:g}, but there are {len(self._speech)} recordings of speech to make "
                "babble of: it takes two at least; add speech or set babble_share to 0"
            )
        self._speakers: dict[str, list[int]] = {}
        for index, recording in enumerate(self._speech.recordings):
            self._speakers.setdefault(speaker_of(recording), []).append(index)

    def __len__(self) -> int:
        """Number of clips; babble is not counted."""
        return len(self.noise)

    def draw(self, samples: int, rng: np.random.Generator, speaker: str | None = None) -> tuple[str, np.ndarray]:
        """Draw a piece of noise: a clip uniformly and a part of it (`noise_segment`), or babble.

        Args:
            samples: length wanted.
            rng: where the chance comes from; without babble, one integer for the clip and what `noise_segment` takes.
            speaker: who is to be disturbed (`manifest.speaker_of`): not heard in the babble if there is anybody else.

        Returns:
            The id of the clip or of the babble ("babble(a+b+c)", the recordings in it), and float32 `[samples]`.

        Raises:
            DataError: naming the clip or recording, if it is silent.
        """
        if self.babble_share and rng.random() < self.babble_share:
            return self._babble(samples, rng, speaker)
        index = int(rng.integers(len(self.noise)))
        id = self.noise.recordings[index].id
        return id, _named_segment(id, self.noise[index], samples, rng)

    def _babble(self, samples: int, rng: np.random.Generator, speaker: str | None) -> tuple[str, np.ndarray]:
        """Three to seven people at one level, fewer where there are not as many, twice one where there is one."""
        groups = [own for name, own in sorted(self._speakers.items()) if name != speaker]
        groups = groups or list(self._speakers.values())
        wanted = int(rng.integers(_VOICES[0], _VOICES[1] + 1))
        order = rng.permutation(len(groups))
        ids, babble = [], np.zeros(samples, dtype=np.float32)
        for turn in range(max(2, min(wanted, len(groups)))):
            own = groups[order[turn % len(groups)]]
            index = own[rng.integers(len(own))]
            ids.append(self._speech.recordings[index].id)
            voice = self._speech[index]
            segment = _named_segment(ids[-1], voice, samples, rng)
            babble += segment / np.float32(_spoken_rms(voice))
        return f"babble({'+'.join(ids)})", babble


def noise_segment(clip: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random piece out of a noise clip, repeating the clip if it is short.

    The padding at both ends of the clip is never used. A piece more than 40 dB below the clip is a pause and is drawn
    again; a clip that is nearly all pause gives a piece around its loudest sample.

    Args:
        clip: `[m]`.
        samples: length of the piece.
        rng: where the chance comes from.

    Returns:
        `[samples]`.

    Raises:
        DataError: if the clip is empty or silent.
    """
    magnitude = np.abs(clip)
    peak = float(magnitude.max(initial=0.0))
    if not 0 < peak < np.inf:
        raise DataError(f"a noise clip of {len(clip)} samples is silent or not finite")
    first, last = np.flatnonzero(magnitude > _PADDING * peak)[[0, -1]]
    clip = clip[first : last + 1]
    if len(clip) < samples:
        return np.take(clip, np.arange(samples) + rng.integers(len(clip)), mode="wrap")
    floor_db = audio.level_db(clip) - _PAUSE_DB
    for _ in range(_DRAWS):
        start = rng.integers(len(clip) - samples + 1)
        if audio.level_db(clip[start : start + samples]) >= floor_db:
            return clip[start : start + samples]
    start = np.clip(np.abs(clip).argmax() - rng.integers(samples), 0, len(clip) - samples)
    return clip[start : start + samples]


def _named_segment(id: str, clip: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    try:
        return noise_segment(clip, samples, rng)
    except DataError as error:
        raise DataError(f"noise {id}: {error}") from None


def _spoken_rms(speech: np.ndarray) -> float:
    """Root mean square of what is not pause."""
    magnitude = np.abs(speech)
    spoken = magnitude[magnitude >= _SPOKEN * magnitude.max()].astype(np.float64)
    return float(np.sqrt(spoken @ spoken / len(spoken)))
