"""Augmentation of training mixtures: rooms, band limits, overload, codecs, gains. Never used for testing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from phonemi.audio.codecs import CODECS, through_codec
from phonemi.constants import SAMPLE_RATE

if TYPE_CHECKING:  # listing the recordings of a folder needs no package of the settings
    from phonemi.config import Augment

# Reflections within 50 ms of the direct sound are heard as part of it and make it easier to understand (the limit of
# the clarity C50 in ISO 3382). They stay in the target: a mask cannot remove them, and trying would cost words.
EARLY_S = 0.05
IMAGES_S = 0.08  # single reflections until here; later ones are denser than the samples in all but the largest rooms
_JOINT_S = 0.02  # the diffuse tail starts at the level of these last milliseconds of single reflections
_SPEED_OF_SOUND = 343.0  # m/s at 20 degrees Celsius
_MIN_ROOM_M, _MAX_ROOM_M = (2.5, 2.5, 2.3), (10.0, 8.0, 4.0)  # length, width, height: closets to classrooms
_MIN_WALL_DISTANCE_M = 0.3  # of mouth and microphone
_DISTANCE_M = (0.3, 3.0)  # from the mouth to the microphone, minimum and maximum
_CLIPPED = (0.001, 0.03)  # share of the samples that an overload clips, least and most
_PEAK = 0.9  # of what goes into a codec
_TAPS, _KAISER_BETA = 255, 8.0  # -80 dB from 160 Hz above the cutoff on


def augment(
    clean: np.ndarray,
    add_noise: Callable[[np.ndarray], np.ndarray],
    augmentation: Augment,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Put speech in a room, add noise to it, and send both through a band-limited channel with a gain.

    The noisy speech may also be recorded too loud, or be coded; its target is neither.

    The noise is added to the reverberant speech, so that the SNR is that at the microphone; the band limit comes later
    and changes it. The target is the direct sound with the reflections of the first 50 ms (`EARLY_S`), in time with
    `clean` and band-limited like the noisy speech: the enhancer learns to leave an empty upper band empty.

    Args:
        clean: speech, `[sample]`.
        add_noise: speech `[sample]` -> noisy `[sample]`.
        augmentation: which changes are possible, and how often.
        rng: all randomness comes from it; an augmentation that is off draws nothing.

    Returns:
        The noisy speech and the target, float32 `[sample]`, as long as `clean`.

    >>> from phonemi.config import Augment
    >>> augment(np.ones(3), lambda speech: speech + 1, Augment(gain_db=(-20, -20)), np.random.default_rng(0))
    (array([0.2, 0.2, 0.2], dtype=float32), array([0.1, 0.1, 0.1], dtype=float32))
    """
    speech = target = clean
    if augmentation.reverb_share and rng.random() < augmentation.reverb_share:
        speech, target = reverberate(clean, room_response(rng.uniform(*augmentation.rt60_s), rng))
    both = np.stack([add_noise(speech), target]).astype(np.float32, copy=False)
    if augmentation.band_limit_share and rng.random() < augmentation.band_limit_share:
        both = band_limit(both, rng.uniform(*augmentation.band_limit_hz))
    if augmentation.clip_share and rng.random() < augmentation.clip_share:
        both[0] = overload(both[0], rng.uniform(*_CLIPPED))
    if augmentation.codec_share and rng.random() < augmentation.codec_share:
        peak = max(float(np.abs(both[0]).max()), 1e-9) / _PEAK
        both[0] = peak * through_codec(both[0] / peak, CODECS[rng.integers(len(CODECS))], rng.uniform(0.9, 1.0))
    if any(augmentation.gain_db):
        both = both * draw_gain(augmentation, rng)
    return both[0], both[1]


def draw_gain(augmentation: Augment, rng: np.random.Generator) -> np.float32:
    """An amplitude gain, drawn evenly in dB or in amplitude."""
    lowest_db, highest_db = augmentation.gain_db
    if augmentation.gain_in_amplitude:
        return np.float32(rng.uniform(10 ** (lowest_db / 20), 10 ** (highest_db / 20)))
    return np.float32(10 ** (rng.uniform(lowest_db, highest_db) / 20))


def reverberate(speech: np.ndarray, response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Speech with the reverberation of a room, and with its early reflections alone.

    `response` is the impulse response of the room from the direct sound on, `[m]`. Speech and both results are
    `[sample]`; the reverberation after the end of the speech is cut off.
    """
    response = response[: len(speech)]
    early = np.where(np.arange(len(response)) < round(EARLY_S * SAMPLE_RATE), response, 0)
    # One call, so that the Fourier transform of the speech is computed once.
    from scipy.signal import fftconvolve

    both = fftconvolve(speech[None], np.stack([response, early]).astype(speech.dtype), axes=1)
    reverberant, early_only = both[:, : len(speech)].astype(np.float32, copy=False)
    return reverberant, early_only


def room_response(rt60_s: float, rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a random shoebox room, between a random mouth and a random microphone, both omnidirectional.

    Until 80 ms after the direct sound it has single reflections by the image method (Allen & Berkley, JASA 65, 1979);
    then Gaussian noise that starts at their level and decays by 60 dB in `rt60_s`. The reflection factor of the walls
    follows from the decay by Eyring's formula, rt60 = 24 ln(10) V / (-c S ln(1 - absorption)), which unlike Sabine's
    has a solution for every decay. The factor is negative: reflections of equal sign would add up to a rumble (Lehmann
    & Johansson, JASA 124, 2008).

    Returns:
        float32 `[m]` at 16 kHz, m the longer of `rt60_s` and 80 ms; sample 0 is the direct sound, 1.

    >>> response = room_response(0.3, np.random.default_rng(0))
    >>> response.shape, float(response[0])
    ((4800,), 1.0)
    """
    size_m = rng.uniform(_MIN_ROOM_M, _MAX_ROOM_M)
    lowest_m, highest_m = _MIN_WALL_DISTANCE_M, size_m - _MIN_WALL_DISTANCE_M
    source_m, target_m = (rng.uniform(lowest_m, highest_m) for _ in range(2))
    between_m = float(np.linalg.norm(target_m - source_m))
    # The microphone is on the line between two points in the room, so it is in the room.
    microphone_m = source_m + (target_m - source_m) * min(1.0, rng.uniform(*_DISTANCE_M) / max(between_m, 1e-6))
    volume_m3, surface_m2 = size_m.prod(), 2 * (size_m.prod() / size_m).sum()
    reflection = -np.exp(-12 * np.log(10) * volume_m3 / (_SPEED_OF_SOUND * surface_m2 * rt60_s))
    images = _images(size_m, source_m, microphone_m, reflection)

    response = np.zeros(max(len(images), round(rt60_s * SAMPLE_RATE)))
    response[: len(images)] = images
    envelope = 10 ** (-3 * np.arange(len(response)) / (rt60_s * SAMPLE_RATE))
    joint = slice(len(images) - round(_JOINT_S * SAMPLE_RATE), len(images))
    level = np.sqrt(np.sum(response[joint] ** 2) / np.sum(envelope[joint] ** 2))
    tail = slice(len(images), None)
    response[tail] = level * envelope[tail] * rng.standard_normal(len(response) - len(images))
    return response.astype(np.float32)


def _images(size_m: np.ndarray, source_m: np.ndarray, microphone_m: np.ndarray, reflection: float) -> np.ndarray:
    """Impulse response `[sample]` of the direct sound, 1 at sample 0, and the reflections within `IMAGES_S` of it."""
    direct_m = max(float(np.linalg.norm(source_m - microphone_m)), 1e-3)
    max_m = direct_m + IMAGES_S * _SPEED_OF_SOUND
    squares, orders = [], []
    for size, source, microphone in zip(size_m, source_m, microphone_m, strict=True):
        # Along an axis of length L, the images of source s are at 2 n L + s after |2 n| reflections, and at 2 n L - s
        # after |2 n - 1|.
        n = np.arange(-int(max_m // (2 * size)) - 1, int(max_m // (2 * size)) + 2)
        positions = np.concatenate([2 * n * size + source, 2 * n * size - source])
        squares.append((positions - microphone) ** 2)
        orders.append(np.concatenate([np.abs(2 * n), np.abs(2 * n - 1)]))
    squared = squares[0][:, None, None] + squares[1][:, None] + squares[2]
    order = orders[0][:, None, None] + orders[1][:, None] + orders[2]
    near = squared < max_m**2
    distance_m = np.sqrt(squared[near])
    delay = np.round((distance_m - direct_m) / _SPEED_OF_SOUND * SAMPLE_RATE).astype(int)
    samples = round(IMAGES_S * SAMPLE_RATE)
    # No reflection is louder than the direct sound: no image is closer than the source.
    amplitude = reflection ** order[near] * direct_m / np.maximum(distance_m, direct_m)
    response = np.bincount(delay, amplitude, samples)[:samples]
    response[0] = 1.0
    return response


def overload(waveform: np.ndarray, share: float) -> np.ndarray:
    """Clip this share of the samples, [sample]: all that are louder are as loud as the loudest of the others.

    >>> overload(np.array([0.1, -0.5, 0.2, 0.3]), 0.5).round(2).tolist()
    [0.1, -0.25, 0.2, 0.25]
    """
    highest = float(np.quantile(np.abs(waveform), 1 - share))
    return waveform.clip(-highest, highest)


def band_limit(waveforms: np.ndarray, cutoff_hz: float) -> np.ndarray:
    """Low-pass with a symmetric FIR filter, -6 dB at the cutoff, without delay.

    Waveforms and result are float32 `[channel, sample]`; `cutoff_hz` lies between 0 and 8000.
    """
    from scipy.signal import firwin, oaconvolve

    low_pass = firwin(_TAPS, cutoff_hz, window=("kaiser", _KAISER_BETA), fs=SAMPLE_RATE)
    filtered = oaconvolve(waveforms, low_pass[None].astype(np.float32), mode="full", axes=1)
    delay = _TAPS // 2
    limited: np.ndarray = filtered[:, delay : delay + waveforms.shape[1]].astype(np.float32, copy=False)
    return limited
