"""Sound files <-> float32 arrays `[sample]` or `[channel, sample]`: the only file that reads or writes sound.

Reading goes through libsndfile (wav, flac, ogg with Vorbis or Opus, mp3), resampling through soxr. Every file that
cannot be used is an `AudioError` of one line that names the file and what was found in it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr

from phonemi.errors import AudioError
from phonemi.files import replacing

EXTENSIONS: tuple[str, ...] = (".wav", ".flac", ".ogg", ".opus", ".mp3")

_DEFAULTS = {  # extension: (libsndfile format, subtype)
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
_READ_SAMPLES = 1 << 20  # nearly every recording is one block; a header that lies cannot ask for more memory
_WRITE_SAMPLES = 1 << 16  # libsndfile crashes when it gets minutes of sound for Ogg in one call
_PIPED_BYTES = 0x7FFF0000  # wav from a pipe says 0x7FFFF000 (sox), 0x7FFFFFFF or 0xFFFFFFFF (ffmpeg): no promise
_MP3_TOLERANCE = 0.1  # the count of an mp3 file may be an estimate from its size; only more than this is a loss
_LONGEST = 1 << 62  # flac from a pipe has no count, for which libsndfile says 2^63 - 1
_SYSTEM_ERROR = 2  # libsndfile's code for a refusal of the operating system, which it does not name
_SAMPLE_CODINGS = (1, 3, 6, 7, 0xFFFE)  # PCM, float, A-law, mu-law, extensible: a fixed number of bytes per sample


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says; `samples` counts each channel once."""

    path: str
    sample_rate: int
    samples: int
    channels: int
    format: str
    subtype: str

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.samples / self.sample_rate


def probe(path: str | Path) -> AudioInfo:
    """Read the header of a sound file, without decoding; the sample count of an mp3 file may be an estimate.

    Raises:
        AudioError: if the file is missing, a directory, empty, not sound, or a wav file cut short.
    """
    with _open(path) as (_, info):
        return info


def load(path: str | Path, sample_rate: int | None = 16_000) -> np.ndarray:
    """Read a whole sound file as one channel.

    Args:
        path: a wav, flac, ogg, opus or mp3 file.
        sample_rate: rate to resample to in Hz; None keeps the file's own.

    Returns:
        float32 `[sample]`, the mean of the channels, as long as `resample` makes it.

    Raises:
        AudioError: as `probe`, and for a file that ends before its header says, or holds NaN or infinite samples.
    """
    channels, file_rate = load_channels(path)
    waveform = channels[0] if len(channels) == 1 else channels.mean(axis=0, dtype=np.float32)
    resampled = resample(waveform, file_rate, sample_rate or file_rate)
    if not len(resampled):
        raise AudioError(f"{path} is too short: {len(waveform)} samples at {file_rate} Hz are none at {sample_rate} Hz")
    return resampled


def load_channels(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a whole sound file with all its channels at its own sample rate.

    Returns:
        float32 `[channel, sample]` and the sample rate in Hz.

    Raises:
        AudioError: as `load`.
    """
    with _open(path) as (file, info):
        parts = list(_read(file, info, _READ_SAMPLES))
    waveform = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    _check_finite(path, waveform)
    return waveform, info.sample_rate


def blocks(path: str | Path, block_samples: int) -> Iterator[np.ndarray]:
    """Read a sound file piece by piece: the memory taken does not grow with its length.

    Yields:
        float32 `[channel, block_samples]`, the last one shorter, at the file's own rate.

    Raises:
        AudioError: as `load`, when the iteration reaches the fault.
    """
    with _open(path) as (file, info):
        for block in _read(file, info, block_samples):
            _check_finite(path, block)
            yield block


def save(
    path: str | Path, waveform: np.ndarray, sample_rate: int, format: str | None = None, subtype: str | None = None
) -> None:
    """Write a sound file, whole or not at all.

    Args:
        path: where to; the extension chooses the format unless `format` is given.
        waveform: `[sample]` or `[channel, sample]`, full scale 1. Clipped to [-1, 1] unless the subtype is a float.
        sample_rate: in Hz.
        format: libsndfile's name of a container, for instance `"WAV"`.
        subtype: libsndfile's name of a coding, for instance `"PCM_24"` or `"FLOAT"`; 16 bits for wav and flac.

    Raises:
        AudioError: if the format cannot hold the waveform, a sample is not finite, or the disk refuses.
    """
    waveform = np.atleast_2d(np.asarray(waveform, dtype=np.float32))
    with Writer(path, sample_rate, len(waveform), format, subtype) as writer:
        writer.write(waveform)


class Writer:
    """Writes a sound file block by block; the file appears under its name only when all of it is there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder) / "a.wav", 16_000, channels=1) as writer:
    ...         writer.write(np.zeros((1, 100)))
    ...     probe(Path(folder) / "a.wav").samples
    100
    """

    def __init__(
        self, path: str | Path, sample_rate: int, channels: int, format: str | None = None, subtype: str | None = None
    ) -> None:
        """See `save` for the arguments."""
        self.path = Path(path)
        self.sample_rate = sample_rate
        self.channels = channels
        self.format, self.subtype = _format(self.path, format, subtype)
        self.samples = 0

    def __enter__(self) -> Writer:
        coding = {"subtype": self.subtype, "format": self.format}
        with self._objections(), ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            self._file = soundfile.SoundFile(temporary, "w", self.sample_rate, self.channels, **coding)
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def write(self, block: np.ndarray) -> None:
        """Append a block `[channel, sample]` (or `[sample]` to a file of one channel).

        Raises:
            AudioError: if the block has another number of channels, a sample is not finite, or the disk refuses.
        """
        block = np.atleast_2d(np.asarray(block, dtype=np.float32))
        if block.ndim != 2 or len(block) != self.channels:
            raise AudioError(f"{self.path}: expected [{self.channels}, sample], found an array of shape {block.shape}")
        _check_finite(self.path, block)
        if self.subtype not in ("FLOAT", "DOUBLE"):
            block = block.clip(-1, 1)
        with self._objections():
            for start in range(0, block.shape[1], _WRITE_SAMPLES):
                self._file.write(block[:, start : start + _WRITE_SAMPLES].T)
        self.samples += block.shape[1]

    def __exit__(self, *failure: Any) -> None:
        with self._objections():
            self._stack.__exit__(*failure)

    def _finish(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Close the file; if all went well so far, check that what lies on the disk is what was written."""
        with suppress(RuntimeError) if kind else nullcontext():
            self._file.close()
        if kind:
            return
        if self.samples == 0:
            raise ValueError("no samples")
        # libsndfile does not report every failed write of a compressed format.
        kept = soundfile.info(self._file.name).frames
        if self.format != "MP3" and kept != self.samples:
            raise OSError(f"only {kept} of {self.samples} samples arrived; is the disk full?")

    @contextmanager
    def _objections(self) -> Iterator[None]:
        """Turn what the system or libsndfile refuses into one line; AssertionError is soundfile's short write."""
        try:
            yield
        except (OSError, RuntimeError, AssertionError, ValueError, TypeError) as error:
            what = f"{self.format} {self.subtype}, {self.channels} channels, {self.sample_rate} Hz"
            raise AudioError(f"cannot write {self.path} ({what}): {_reason(error)}") from None


def resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Change the sample rate of `[..., sample]` from `from_rate` to `to_rate` Hz (soxr HQ: linear phase).

    Returns:
        float32 `[..., round(sample * to_rate / from_rate)]`, aligned in time with the input.

    >>> resample(np.zeros((2, 48_000)), 48_000, 16_000).shape
    (2, 16000)
    """
    waveform = np.asarray(waveform, dtype=np.float32)
    if from_rate == to_rate:
        return waveform
    result = np.zeros((*waveform.shape[:-1], round(waveform.shape[-1] * to_rate / from_rate)), dtype=np.float32)
    for channel in np.ndindex(waveform.shape[:-1]):
        resampled = soxr.resample(waveform[channel], from_rate, to_rate, quality="HQ")[: result.shape[-1]]
        result[channel][: len(resampled)] = resampled
    return result


def find_recordings(folder: str | Path) -> list[Path]:
    """All sound files in a folder and the folders below it, sorted; hidden and unfinished (`.part`) ones are skipped.

    Raises:
        AudioError: if the folder does not exist.
    """
    if not Path(folder).is_dir():
        raise AudioError(f"{folder} is not a folder")
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in EXTENSIONS and ".part" not in path.suffixes)


def level_db(waveform: np.ndarray) -> float:
    """Root mean square level in dB relative to full scale; minus infinity for silence.

    >>> round(level_db(np.array([0.1, -0.1])), 6)
    -20.0
    """
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if np.size(waveform) else 0.0
    return 10 * float(np.log10(power)) if power > 0 else float("-inf")


@contextmanager
def _open(path: str | Path) -> Iterator[tuple[soundfile.SoundFile, AudioInfo]]:
    """Open a sound file and check what its header says."""
    try:
        with open(path, "rb") as raw:
            if not raw.read(1):
                raise AudioError(f"{path} is empty (0 bytes)")
            promised = _promised_wav_samples(raw)
    except OSError as error:
        raise AudioError(f"cannot read {path}: {_reason(error)}") from None
    try:
        file = soundfile.SoundFile(path)
    except RuntimeError as error:
        raise AudioError(f"{path} is not sound that libsndfile can read: {_reason(error)}") from None
    with file:
        info = AudioInfo(str(path), file.samplerate, file.frames, file.channels, file.format, file.subtype)
        if promised is not None and promised > info.samples:
            raise _truncated(path, promised, info.samples)
        if info.samples == 0:
            raise AudioError(f"{path} is empty (0 samples)")
        if info.samples > _LONGEST:
            raise AudioError(f"{path}: its header does not say how long it is; convert it again, from file to file")
        yield file, info


def _read(file: soundfile.SoundFile, info: AudioInfo, block_samples: int) -> Iterator[np.ndarray]:
    """Decode an open file to float32 `[channel, sample]` blocks, checking that all that was promised arrives."""
    done = 0
    while done < info.samples:
        try:
            block = file.read(min(block_samples, info.samples - done), dtype="float32", always_2d=True)
        except RuntimeError:
            raise _truncated(info.path, info.samples, file.tell()) from None
        if len(block) == 0:
            break
        done += len(block)
        yield np.ascontiguousarray(block.T)
    if done < info.samples * (1 - _MP3_TOLERANCE if info.format == "MP3" else 1):
        raise _truncated(info.path, info.samples, done)


def _promised_wav_samples(raw: BinaryIO) -> int | None:
    """Samples that a wav file announces, if its `data` chunk is longer than the file; otherwise None.

    libsndfile silently cuts this number down to what the file holds.
    """
    raw.seek(0)
    riff = raw.read(12)
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        return None
    block_align = 0
    while len(header := raw.read(8)) == 8:
        name, size = struct.unpack("<4sI", header)
        if name == b"data":
            complete = size <= os.fstat(raw.fileno()).st_size - raw.tell()
            return None if complete or size >= _PIPED_BYTES or not block_align else size // block_align
        if name == b"fmt ":
            coding, _, _, _, block_align = struct.unpack("<HHIIH", raw.read(14).ljust(14, b"\0"))
            if coding not in _SAMPLE_CODINGS:
                return None
            size -= 14
        raw.seek(size + size % 2, os.SEEK_CUR)
    return None


def _check_finite(path: str | Path, block: np.ndarray) -> None:
    if bad := block.size - int(np.count_nonzero(np.isfinite(block))):
        raise AudioError(f"{path}: {bad} of {block.size} samples are NaN or infinite")


def _truncated(path: str | Path, promised: int, found: int) -> AudioError:
    return AudioError(f"{path} is cut short: its header promises {promised} samples, {found} can be read")


def _reason(error: BaseException) -> str:
    """What the system or libsndfile objected to, in one line."""
    if isinstance(error, AssertionError) or getattr(error, "code", None) == _SYSTEM_ERROR:
        return "the system refused; is the disk full?"
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
    return " ".join(str(text).split()).rstrip(".")


def _format(path: Path, format: str | None, subtype: str | None) -> tuple[str, str]:
    """libsndfile's format and subtype for a file name, checked."""
    usual_format, usual_subtype = _DEFAULTS.get(path.suffix.lower(), (None, None))
    if (format := format or usual_format) is None:
        raise AudioError(f"{path}: unknown sound format {path.suffix!r}; use one of {', '.join(EXTENSIONS)}")
    subtype = subtype or (usual_subtype if format == usual_format else None)
    if not soundfile.check_format(format, subtype):
        raise AudioError(f"{path}: libsndfile cannot write {format} with subtype {subtype}")
    return format, subtype or soundfile.default_subtype(format)
