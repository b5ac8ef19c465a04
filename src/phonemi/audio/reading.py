"""A sound file -> what its header says, or float32 `[sample]` or `[channel, sample]`, whole or in blocks."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from phonemi.audio.conversion import through_ffmpeg
from phonemi.audio.faults import check_finite, reason, truncated
from phonemi.audio.formats import library_name
from phonemi.audio.headers import Header, read_header
from phonemi.audio.mpeg import read_frames, spare_samples, write_counted
from phonemi.audio.streams import from_stream
from phonemi.audio.waveforms import resample
from phonemi.errors import AudioError

_READ_VALUES = 1 << 21  # at once, all channels together; a header that lies cannot ask for more memory
_LONGEST = 1 << 62  # flac from a pipe has no count, for which libsndfile says 2^63 - 1


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says; `samples` counts each channel once.

    `format` and `subtype` are libsndfile's names; `is_converted`: libsndfile does not know the format, and they are
    those of what ffmpeg made of it, "WAVEX" (or "WAV", "RF64") with "FLOAT". `metadata`: those of title, artist, album,
    comment, date, genre, tracknumber, copyright, license and software that it holds; pictures and other tags are not
    read.
    """

    path: str
    sample_rate: int
    samples: int
    channels: int
    format: str
    subtype: str
    metadata: dict[str, str] = field(default_factory=dict, hash=False)
    is_converted: bool = False

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.samples / self.sample_rate


def probe(path: str | Path) -> AudioInfo:
    """Read the header of a sound file, of an mp3 file those of all its frames.

    Nothing is decoded, except by ffmpeg what libsndfile cannot read.

    Raises:
        AudioError: if the file is missing, a directory, a pipe, empty, not sound, or a wav, RF64, W64, AIFF or mp3 file
            cut short; or if libsndfile cannot read it and ffmpeg is not installed or finds it damaged.
    """
    with _open(path) as (_, info):
        return info


@contextmanager
def decoded(path: str | Path) -> Iterator[Path]:
    """The file itself, or the temporary file that has to be made of it; the latter is gone when the context ends.

    `probe`, `load` and `blocks` make one themselves. Whoever calls several of them does so with this path.

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
        AudioError: as `probe`, and for a file that ends before its header says, or holds samples that are NaN, infinite
            or above 1e15.
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
    with Reader(path) as reader:
        (waveform,) = reader.blocks(reader.info.samples)
    return waveform, reader.info.sample_rate


def blocks(path: str | Path, block_samples: int) -> Iterator[np.ndarray]:
    """Read a sound file piece by piece: the memory taken does not grow with its length.

    Yields:
        float32 `[channel, block_samples]`, the last one shorter, at the file's own rate.

    Raises:
        AudioError: as `load`, when the iteration reaches the fault.
    """
    with Reader(path) as reader:
        yield from reader.blocks(block_samples)


class Reader:
    """A sound file that is open for reading.

    >>> import tempfile
    >>> from phonemi.audio import save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "a.wav", np.zeros((2, 100)), 16_000)
    ...     with Reader(Path(folder) / "a.wav") as reader:
    ...         reader.info.channels, [block.shape for block in reader.blocks(60)]
    (2, [(2, 60), (2, 40)])

    Args:
        path: see `load`.

    Attributes:
        info: what its header says.

    Raises:
        AudioError: as `probe`.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._open_file: ExitStack | None = None
        self._state = _file_state(self._path)
        self.info = self._open()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; `blocks` opens it again."""
        if self._open_file is not None:
            self._open_file.close()
            self._open_file = None

    def _open(self) -> AudioInfo:
        with ExitStack() as stack:
            self._file, info = stack.enter_context(_open(self._path))
            self._open_file = stack.pop_all()
        return info

    def blocks(self, lengths: int | Sequence[int]) -> Iterator[np.ndarray]:
        """Read from the start to the end, piece by piece; the memory taken does not grow with the length of the file.

        Args:
            lengths: samples in every block, or in each of them one after the other.

        Yields:
            float32 `[channel, sample]` at the rate of the file. The last block may be shorter.

        Raises:
            AudioError: as `load`, when the fault is reached; or if the file changed since its header was read.
        """
        if self._open_file is None:
            self.check_unchanged()
            if self._open() != self.info:
                raise self._changed()
        try:
            start = 0
            for block in _read(self._file, self.info, lengths):
                check_finite(block, self._path, start, self.info.samples)
                start += block.shape[1]
                yield block
        finally:
            self.close()

    def check_unchanged(self) -> None:
        """Raise AudioError if the size or the modification time of the file changed since its header was read."""
        if _file_state(self._path) != self._state:
            raise self._changed()

    def _changed(self) -> AudioError:
        return AudioError(f"{self._path} changed while it was being read: run again")


def _file_state(path: Path) -> tuple[int, int] | None:
    """Modification time in ns and size in bytes; None if there is no such file."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return state.st_mtime_ns, state.st_size


class _Forward(soundfile.SoundFile):
    """Read from the start to the end only: python-soundfile seeks after every read of a file that says it can.

    DWVW cannot, and mp3 goes on with wrong samples for a fifth of a second.
    """

    def seekable(self) -> bool:
        return False


class _Source(NamedTuple):
    file: _Forward  # the sound
    header: Header
    origin: _Forward  # the format and the texts
    is_converted: bool


@contextmanager
def _open(path: str | Path) -> Iterator[tuple[_Forward, AudioInfo]]:
    """Open a sound file and check what its header says."""
    with ExitStack() as stack:
        file, header, origin, is_converted = _source(Path(path), stack)
        samples = file.frames
        if header.promised and header.cut and header.promised > samples:
            raise truncated(path, header.promised, samples)
        if header.promised and header.promised < samples < header.promised + header.padding:
            samples = header.promised
        if samples == 0:
            raise AudioError(f"{path} is empty (0 samples)")
        yield (
            file,
            AudioInfo(
                str(path),
                file.samplerate,
                samples,
                file.channels,
                origin.format,
                origin.subtype,
                metadata=_texts(origin),
                is_converted=is_converted,
            ),
        )


def _source(path: Path, stack: ExitStack) -> _Source:
    """Open a file, or what has to be made of it first, until the stack is unwound."""
    readable, header = _checked(path, stack)
    origin = None
    try:
        file = stack.enter_context(_Forward(library_name(readable)))
        # By some extensions libsndfile takes any bytes for samples.
        if file.format == "RAW":
            raise RuntimeError("Format not recognised")
        origin = file
        if header.beyond:
            raise RuntimeError("it holds more sound than the 4 GiB that its header can count")
        if file.frames > _LONGEST:
            raise RuntimeError("its header does not say how long it is")
        if file.format == "MP3":
            file, header = _counted(path, file, stack)
    except (RuntimeError, TypeError) as error:  # TypeError: .raw
        wav = stack.enter_context(through_ffmpeg(path, reason(error)))
        file, header = stack.enter_context(_Forward(library_name(wav))), Header()
    return _Source(file, header, origin or file, origin is None)


def _checked(path: Path, stack: ExitStack) -> tuple[Path, Header]:
    """What libsndfile should open: the file, or a copy with the length that a program left open; and its header."""
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
            return stack.enter_context(from_stream(raw)) if unfilled else path, header
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError(f"cannot read {path}: {reason(error)}") from None


def _counted(path: Path, file: _Forward, stack: ExitStack) -> tuple[_Forward, Header]:
    """An mp3 file, or a copy that says how many samples there are where the file says too few."""
    try:
        with open(path, "rb") as raw:
            found = read_frames(raw)
            if not found.samples or found.changes:
                raise RuntimeError("its rate or channels change" if found.changes else "its frames cannot be counted")
            if found.missing > 0:
                raise truncated(path, file.frames, max(0, file.frames - found.missing))
            is_read_whole = found.missing == 0 if found.promised else found.samples <= file.frames
            # libsndfile gives up where a kilobyte of anything else lies between the frames.
            if is_read_whole and len(found.runs) == 1:
                return file, Header() if found.promised else Header(found.samples, padding=_LONGEST)
            if file.subtype != "MPEG_LAYER_III":
                raise RuntimeError("its header does not say how long it is")
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="phonemi-")), "counted.mp3")
            with open(copy, "wb") as target:
                write_counted(raw, found, target)
    except OSError as error:
        raise AudioError(f"cannot read {path}: {reason(error)}") from None
    return stack.enter_context(_Forward(library_name(copy))), Header()


def _texts(file: soundfile.SoundFile) -> dict[str, str]:
    """Title, artist, ...; what is not UTF-8 is what Windows programs write in western Europe."""
    texts = {name: text for name, text in file.copy_metadata().items() if text}
    for name in [name for name, text in texts.items() if "\N{REPLACEMENT CHARACTER}" in text]:
        with suppress(AttributeError):  # inner parts, the only ones that give the bytes; without them it stays as it is
            text = soundfile._ffi.string(soundfile._snd.sf_get_string(file._file, soundfile._str_types[name]))
            texts[name] = text.decode("cp1252", errors="replace")
    return texts


def _read(file: soundfile.SoundFile, info: AudioInfo, lengths: int | Sequence[int]) -> Iterator[np.ndarray]:
    """Decode an open file to float32 `[channel, sample]` blocks, checking that all that was promised arrives."""
    done = 0
    for length in repeat(lengths) if isinstance(lengths, int) else lengths:
        asked = min(length, info.samples - done)
        block = _next(file, info, done, asked)
        done += block.shape[1]
        if block.size:
            yield block
        if block.shape[1] < asked or done >= info.samples:
            break
    if done == 0 or done < info.samples - (spare_samples(info.sample_rate) if file.format == "MP3" else 0):
        raise truncated(info.path, info.samples, done)


def _next(file: soundfile.SoundFile, info: AudioInfo, start: int, samples: int) -> np.ndarray:
    """`[channel, samples]` from sample `start` on, fewer at the end; in pieces, because the header may lie."""
    longest = max(1, _READ_VALUES // info.channels)
    pieces: list[np.ndarray] = []
    done = 0
    while done < samples:
        asked = min(longest, samples - done)
        try:
            piece = file.read(asked, dtype="float32", always_2d=True)
        except RuntimeError:
            with suppress(RuntimeError):  # it may not know
                done = file.tell() - start
            raise truncated(info.path, info.samples, start + max(0, done)) from None
        pieces.append(np.ascontiguousarray(piece.T))
        done += len(piece)
        if len(piece) < asked:
            break
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
