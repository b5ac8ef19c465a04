"""A sound file -> what its header says, or float32 `[sample]` or `[channel, sample]`, whole or in blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from phonemi.audio.conversion import through_ffmpeg
from phonemi.audio.faults import check_finite, reason, truncated
from phonemi.audio.formats import library_name
from phonemi.audio.headers import Header, read_header
from phonemi.audio.streams import from_stream
from phonemi.audio.waveforms import resample
from phonemi.errors import AudioError

_READ_VALUES = 1 << 21  # at once, all channels together; a header that lies cannot ask for more memory
_MP3_TOLERANCE = 0.1  # the count of an mp3 file may be an estimate from its size; only more than this is a loss
_LONGEST = 1 << 62  # flac from a pipe has no count, for which libsndfile says 2^63 - 1


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says; `samples` counts each channel once.

    `format` and `subtype` are libsndfile's names; a file that came through ffmpeg is "WAVEX" (or "WAV", "RF64") with
    "FLOAT". `metadata`: those of title, artist, album, comment, date, genre, tracknumber, copyright, license and
    software that it holds; pictures and other tags are not read.
    """

    path: str
    sample_rate: int
    samples: int
    channels: int
    format: str
    subtype: str
    metadata: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.samples / self.sample_rate


def probe(path: str | Path) -> AudioInfo:
    """Read the header of a sound file; the sample count of an mp3 file may be an estimate.

    Nothing is decoded, except by ffmpeg what libsndfile cannot read.

    Raises:
        AudioError: if the file is missing, a directory, a pipe, empty, not sound, or a wav, RF64, W64 or AIFF file cut
            short; or if it is none of libsndfile's formats and ffmpeg is not installed or finds it damaged.
    """
    with _open(path) as (_, info):
        return info


@contextmanager
def decoded(path: str | Path) -> Iterator[Path]:
    """The file itself, or the temporary wav file that ffmpeg makes of it; the latter is gone when the context ends.

    `probe`, `load` and `blocks` call ffmpeg themselves. Whoever calls several of them does so with this path.

    Raises:
        AudioError: as `probe`.
    """
    with _open(path) as (file, _):
        yield Path(os.fsdecode(file.name))


def load(path: str | Path, sample_rate: int | None = 16_000) -> np.ndarray:
    """Read a whole sound file as one channel.

    Args:
        path: a file that libsndfile reads (wav, flac, ogg, opus, mp3, aiff, ...), or ffmpeg where it is installed.
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
        (waveform,) = _read(file, info, info.samples)
    check_finite(path, waveform)
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
            check_finite(path, block)
            yield block


@contextmanager
def _open(path: str | Path) -> Iterator[tuple[soundfile.SoundFile, AudioInfo]]:
    """Open a sound file and check what its header says."""
    with ExitStack() as stack:
        file, header = _sound_file(Path(path), stack)
        samples = file.frames
        if header.promised and header.cut and header.promised > samples:
            raise truncated(path, header.promised, samples)
        if header.promised and header.promised < samples < header.promised + header.padding:
            samples = header.promised
        if samples == 0:
            raise AudioError(f"{path} is empty (0 samples)")
        texts = {name: text for name, text in file.copy_metadata().items() if text}
        yield (
            file,
            AudioInfo(str(path), file.samplerate, samples, file.channels, file.format, file.subtype, metadata=texts),
        )


def _sound_file(path: Path, stack: ExitStack) -> tuple[soundfile.SoundFile, Header]:
    """Open a file, or what has to be made of it first, until the stack is unwound."""
    try:
        kind = os.stat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise AudioError(f"{path} is a pipe or a device: give its content to standard input")
        with open(path, "rb") as raw:
            if not raw.read(1):
                raise AudioError(f"{path} is empty (0 bytes)")
            header = read_header(raw)
            raw.seek(0)
            unfilled = header.unfilled_at is not None and not header.beyond
            readable = stack.enter_context(from_stream(raw)) if unfilled else path
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError(f"cannot read {path}: {reason(error)}") from None
    try:
        if header.beyond:
            raise RuntimeError("it holds more sound than the 4 GiB that its header can count")
        file = stack.enter_context(soundfile.SoundFile(library_name(readable)))
        # By some extensions libsndfile takes any bytes for samples.
        if file.format == "RAW":
            raise RuntimeError("Format not recognised")
        if file.frames > _LONGEST:
            raise RuntimeError("its header does not say how long it is")
    except (RuntimeError, TypeError) as error:  # TypeError: .raw
        wav = stack.enter_context(through_ffmpeg(path, reason(error)))
        file, header = stack.enter_context(soundfile.SoundFile(library_name(wav))), Header()
    return file, header


def _read(file: soundfile.SoundFile, info: AudioInfo, block_samples: int) -> Iterator[np.ndarray]:
    """Decode an open file to float32 `[channel, sample]` blocks, checking that all that was promised arrives."""
    done = 0
    while done < info.samples:
        asked = min(block_samples, info.samples - done)
        block = _next(file, info, asked)
        done += block.shape[1]
        if block.size:
            yield block
        if block.shape[1] < asked:
            break
    if done == 0 or done < info.samples * (1 - _MP3_TOLERANCE if info.format == "MP3" else 1):
        raise truncated(info.path, info.samples, done)


def _next(file: soundfile.SoundFile, info: AudioInfo, samples: int) -> np.ndarray:
    """The next `[channel, samples]`, fewer at the end; asked for in pieces, because the header may lie."""
    longest = max(1, _READ_VALUES // info.channels)
    pieces: list[np.ndarray] = []
    done = 0
    while done < samples:
        asked = min(longest, samples - done)
        try:
            piece = file.read(asked, dtype="float32", always_2d=True)
        except RuntimeError:
            raise truncated(info.path, info.samples, max(0, file.tell())) from None
        pieces.append(np.ascontiguousarray(piece.T))
        done += len(piece)
        if len(piece) < asked:
            break
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
