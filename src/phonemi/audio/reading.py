"""Reading sound files, whole or in blocks, and what their headers say."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
import soundfile

from phonemi.audio.formats import library_name, reason, truncated
from phonemi.audio.headers import NO_LENGTH, SEVERAL, Header, is_chain, is_followed, read_header, read_mp3_header
from phonemi.audio.pyav import FFmpegFile, read_texts
from phonemi.audio.silence import silent_libraries
from phonemi.audio.waveforms import check_finite, resample
from phonemi.errors import AudioError
from phonemi.tables import plural

_MAX_VALUES_AT_ONCE = 1 << 21  # in one call, all channels together; a header that lies cannot ask for more memory
_MAX_SAMPLES = 1 << 62  # flac from a pipe does not state its length, for which libsndfile says 2^63 - 1
_MP3_SPARE_SAMPLES = 2 * 1152  # two frames: some encoders count one frame more, and the last one may be lost


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says.

    Attributes:
        samples: length of each channel.
        format, subtype: libsndfile's names of container and coding, such as "WAV" and "PCM_16".
        metadata: those of title, artist, album, comment, date, genre, tracknumber, copyright, license and software
            that it holds. Pictures and other tags are not read.
        is_converted: libsndfile does not know the format, so FFmpeg reads it. `format` and `subtype` are then "WAV"
            and "FLOAT", which holds what FFmpeg decodes. Not so for flac in Ogg: "OGG" and "PCM_16" or "PCM_24".
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
        return self.samples / self.sample_rate


def probe(path: str | Path) -> AudioInfo:
    """Read the header of a sound file.

    Nothing is decoded, except what FFmpeg has to read: few of its formats state their exact length.

    Raises:
        AudioError: if the file is missing, a directory, a pipe, empty, not sound, or a wav, RF64, W64, AIFF, au or mp3
            file cut short; or if it needs FFmpeg, and PyAV is not installed or finds it damaged.
    """
    with Reader(path) as reader:
        return reader.info


def load(path: str | Path, sample_rate: int | None = 16_000) -> np.ndarray:
    """Read a whole sound file as one channel.

    Args:
        path: a file that libsndfile reads (wav, flac, ogg, opus, mp3, aiff, ...), or FFmpeg if PyAV is installed.
        sample_rate: to resample to, in Hz; None: that of the file.

    Returns:
        float32 `[sample]`, the mean of the channels.

    Raises:
        AudioError: as `probe`, and for a file that ends before its header says, or holds samples that are NaN, infinite
            or above 1e15.
    """
    channels, file_rate = load_channels(path)
    waveform = channels[0] if len(channels) == 1 else channels.mean(axis=0, dtype=np.float32)
    resampled = resample(waveform, file_rate, sample_rate or file_rate)
    if not len(resampled):
        raise AudioError(
            f"{path} is too short: {plural(len(waveform), 'sample')} at {file_rate} Hz, none at {sample_rate} Hz"
        )
    return resampled


def load_channels(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a whole sound file: float32 `[channel, sample]`, and its sample rate in Hz; errors as for `load`."""
    with Reader(path) as reader:
        (waveform,) = reader.blocks(reader.info.samples)
    return waveform, reader.info.sample_rate


def blocks(path: str | Path, block_samples: int) -> Iterator[np.ndarray]:
    """Read a sound file in pieces `[channel, block_samples]`, the last one shorter: see `Reader.blocks`."""
    with Reader(path) as reader:
        yield from reader.blocks(block_samples)


class Reader:
    """A sound file that is open for reading; `info` is what its header says. Errors as for `probe`.

    >>> import tempfile
    >>> from phonemi.audio import Writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Writer(Path(folder) / "a.wav", 16_000, channels=2) as writer:
    ...         _ = writer.write(np.zeros((2, 100)))
    ...     with Reader(Path(folder) / "a.wav") as reader:
    ...         reader.info.channels, [block.shape for block in reader.blocks(60)]
    (2, [(2, 60), (2, 40)])
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._state = _file_state(self._path)
        self._decoder: _SoundfileDecoder | FFmpegFile | None = None
        self.info = self._open()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; `blocks` opens it again."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def _open(self) -> AudioInfo:
        """Open the file with soundfile or, where soundfile cannot read it or does not know its length, with PyAV."""
        path, file, header, objection = self._path, None, Header(), ""
        try:
            kind = os.stat(path).st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise AudioError(f"{path} is a pipe or a device: give its content to standard input")
            with open(path, "rb", buffering=0) as raw:  # a few bytes here and there
                if not raw.read(1):
                    raise AudioError(f"{path} is empty (0 bytes)")
                if is_followed(raw):
                    raise _several(path)
                with silent_libraries():
                    file = _SoundfileDecoder(library_name(path))
                if file.format == "RAW":  # by some extensions libsndfile takes any bytes for samples
                    raise RuntimeError("Format not recognised")
                header = read_mp3_header(raw) if file.format == "MP3" else read_header(raw)
                if file.format in ("OGG", "FLAC") and is_chain(raw, file.format):
                    if file.format == "FLAC":  # where two streams meet FFmpeg loses a frame
                        raise _several(path)
                    header.doubt = SEVERAL
            objection = header.doubt or (NO_LENGTH if file.frames > _MAX_SAMPLES else "")
        except (RuntimeError, TypeError) as error:  # TypeError: an extension that means raw samples
            file, objection = None, reason(error)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise AudioError(f"cannot read {path}: {reason(error)}") from None
        if file is None or objection:
            self._decoder = decoder = FFmpegFile(path, objection)
            form = decoder.sample_rate, decoder.samples, decoder.channels
            if header.present < 1:
                raise truncated(path, round(decoder.samples / header.present), decoder.samples)
            if file is None and decoder.flac_bits is not None:
                return AudioInfo(str(path), *form, "OGG", f"PCM_{decoder.flac_bits}", decoder.texts)
            if file is None:
                return AudioInfo(str(path), *form, "WAV", "FLOAT", decoder.texts, is_converted=True)
            with file:
                return AudioInfo(str(path), *form, file.format, file.subtype, _texts(path, file))
        samples = file.frames
        stated, present = header.samples, samples
        if file.format == "MP3":
            stated, present = samples, int(samples * header.present)
        if stated and header.present < 1 and present < stated:
            raise truncated(path, stated, present)
        if header.samples and (not header.padding or samples < header.samples + header.padding):
            samples = min(samples, header.samples)
        if samples == 0:
            raise AudioError(f"{path} is empty (0 samples)")
        file.samples, self._decoder = samples, file
        return AudioInfo(
            str(path), file.samplerate, samples, file.channels, file.format, file.subtype, _texts(path, file)
        )

    def blocks(self, lengths: int | Sequence[int]) -> Iterator[np.ndarray]:
        """Read from the start to the end, piece by piece; the memory taken does not grow with the length of the file.

        Yields:
            float32 `[channel, sample]` at the rate of the file, of `lengths` samples each, or one after the other. The
            last block may be shorter.

        Raises:
            AudioError: as `load`, when the fault is reached; or if the file changed since its header was read.
        """
        if self._decoder is None:
            self.check_unchanged()
            if self._open() != self.info:
                raise self._changed()
        decoder, info, done = self._decoder, self.info, 0
        assert decoder is not None
        try:
            for length in repeat(lengths) if isinstance(lengths, int) else lengths:
                wanted = min(length, info.samples - done)
                block = decoder.read_channels(wanted)
                check_finite(block, self._path, done, info.samples)
                done += block.shape[1]
                if block.size:
                    yield block
                if block.shape[1] < wanted or done == info.samples:
                    break
            if done == 0 or done < info.samples - (_MP3_SPARE_SAMPLES if info.format == "MP3" else 0):
                raise truncated(self._path, info.samples, done)
        finally:
            self.close()

    def check_unchanged(self) -> None:
        """Raise AudioError if the size or the modification time of the file changed since its header was read."""
        if _file_state(self._path) != self._state:
            raise self._changed()

    def _changed(self) -> AudioError:
        return AudioError(f"{self._path} changed while it was being read: run again")


def _several(path: Path) -> AudioError:
    return AudioError(f"{path} holds several recordings behind each other: split it")


def _file_state(path: Path) -> tuple[int, int] | None:
    """Modification time in ns and size in bytes; None if there is no such file."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return state.st_mtime_ns, state.st_size


class _SoundfileDecoder(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """Is read from the start to the end only. python-soundfile seeks after every read of a file that says it can.

    DWVW cannot, and mp3 goes on with wrong samples for a fifth of a second.
    """

    samples = 0  # of each channel, as `AudioInfo` has them
    position = 0

    def seekable(self) -> bool:
        return False

    def read_channels(self, samples: int) -> np.ndarray:
        """See `FFmpegFile.read_channels`; in pieces, because the header may lie about the length."""
        max_piece = max(1, _MAX_VALUES_AT_ONCE // self.channels)
        pieces: list[np.ndarray] = []
        end = self.position + samples
        while self.position < end or not pieces:
            wanted = min(max_piece, end - self.position)
            try:
                with silent_libraries() if self.subtype.startswith("MPEG") else nullcontext():
                    piece = self.read(wanted, dtype="float32", always_2d=True)
            except RuntimeError:
                with suppress(RuntimeError):  # libsndfile may not know where it is
                    self.position = max(self.position, self.tell())
                raise truncated(os.fsdecode(self.name), self.samples, self.position) from None
            pieces.append(np.ascontiguousarray(piece.T))
            self.position += len(piece)
            if len(piece) < wanted:
                break
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)


def _texts(path: Path, file: soundfile.SoundFile) -> dict[str, str]:
    """Title, artist, ...; soundfile takes them for UTF-8, but older Windows programs in western Europe write cp1252."""
    texts = {name: text for name, text in file.copy_metadata().items() if text}
    if any("\N{REPLACEMENT CHARACTER}" in text for text in texts.values()):
        texts |= {name: text for name, text in read_texts(path, "cp1252").items() if name in texts}
    return texts
