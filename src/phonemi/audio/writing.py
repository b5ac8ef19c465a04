"""Writing sound files, whole or in blocks; a file is complete or absent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from phonemi.audio import headers
from phonemi.audio.formats import TEXTS, coding, is_flac_in_ogg, library_name, reason
from phonemi.audio.pyav import wrap_in_ogg
from phonemi.audio.waveforms import check_finite
from phonemi.errors import AudioError
from phonemi.files import replacing
from phonemi.tables import plural

_VORBIS_MAX_RATE, _VORBIS_MAX_CHANNELS = 200_000, 255  # libsndfile crashes when it is asked for more
_BLOCK_SAMPLES = 1 << 16  # libsndfile crashes when it gets minutes of sound for Ogg in one call
_MAX_BYTES = 0xFFFF0000  # what the 32 bits of the formats below can count, less their headers
_FORMATS_OF_32_BITS = ("WAV", "WAVEX", "AIFF", "AU")
_BYTES_PER_SAMPLE = {"PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_EITHER_ORDER = ("PCM_16", "PCM_24", "PCM_32")
_MAX_TEXT_BYTES = 1_000  # of texts of many pages libsndfile drops all in wav files, and spoils aiff and opus files


def save(
    path: str | Path, waveform: np.ndarray, sample_rate: int, format: str | None = None, subtype: str | None = None
) -> None:
    """Write a sound file, whole or not at all.

    Args:
        path: where to; the extension chooses the format unless `format` is given.
        waveform: `[sample]` or `[channel, sample]`, full scale 1. Clipped to [-1, 1] unless the subtype is a float.
        sample_rate: in Hz.
        format, subtype: libsndfile's names of container and coding, such as `"WAV"` and `"PCM_24"`; by default 16 bits
            for wav and flac.

    Raises:
        AudioError: if the format cannot hold the waveform, a sample is not finite, or the disk is full.
    """
    waveform = np.atleast_2d(np.asarray(waveform, dtype=np.float32))
    with Writer(path, sample_rate, len(waveform), format, subtype) as writer:
        writer.write(waveform)


class Writer:
    """Writes a sound file block by block; the file appears under its name only when all of it is there.

    Nothing is created, not even a folder, before the first block.

    Rate, channels, format, subtype and the number of samples are kept exactly, with these exceptions. IMA ADPCM in
    aiff, and G.721 and G.723, have no place for the number of samples: silence fills the last block (aiff: 64 samples,
    the others: 120). mp3, ogg and opus change the samples, not their number (mp3: from the LAME tag, which libsndfile
    writes and reads; a player that ignores it adds some 50 ms), and choose their own bit rate.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        channels: int,
        format: str | None = None,
        subtype: str | None = None,
        metadata: Mapping[str, str] | None = None,
        samples: int | None = None,
        on_finish: Callable[[Path], None] | None = None,
    ) -> None:
        """Choose format and coding; the file is created by the first `write`.

        Args:
            path, sample_rate, format, subtype: see `save`.
            channels: number of channels of every block.
            metadata: title, artist, ... as in `AudioInfo.metadata`. Texts that the format cannot hold are left out
                (w64 and au hold none), each is cut at 1000 bytes, and `software` is not copied.
            samples: length of each channel, if it is known in advance; wav above 4 GiB then becomes RF64.
            on_finish: gets the path of the finished file, just before that takes its own name; if it fails, so does
                the writing.
        """
        self.path = Path(path)
        self.sample_rate = sample_rate
        self.channels = channels
        self.format, self.subtype = coding(self.path, format, subtype)
        self._is_flac_in_ogg = is_flac_in_ogg(self.format, self.subtype)
        expected_bytes = (samples or 0) * channels * _BYTES_PER_SAMPLE.get(self.subtype, 0)
        if self.format in ("WAV", "WAVEX") and expected_bytes > _MAX_BYTES:
            self.format = "RF64"
        self.metadata = metadata or {}
        self._on_finish = on_finish
        self.samples = 0
        self._stack: ExitStack | None = None

    def __enter__(self) -> Writer:
        return self

    def _open(self) -> None:
        with self._explaining_errors(), ExitStack() as stack:
            if self.subtype == "VORBIS" and (
                self.sample_rate > _VORBIS_MAX_RATE or self.channels > _VORBIS_MAX_CHANNELS
            ):
                raise ValueError(f"Vorbis ends at {_VORBIS_MAX_RATE} Hz and {_VORBIS_MAX_CHANNELS} channels")
            self._temporary = stack.enter_context(replacing(self.path))
            self._file = soundfile.SoundFile(
                library_name(self._temporary), "w", self.sample_rate, self.channels, self.subtype,
                format="FLAC" if self._is_flac_in_ogg else self.format,
                # With the usual byte order the file would be one of AIFF.
                endian="LITTLE" if self.path.suffix.lower() == ".aifc" and self.subtype in _EITHER_ORDER else None,
                # LAME's V0 instead of V4, because the sound has lost something to a first coding already.
                compression_level=0.0 if self.format == "MP3" else None,
            )  # fmt: skip
            for name in TEXTS:
                text = self.metadata.get(name, "").encode(errors="replace")[:_MAX_TEXT_BYTES].decode(errors="ignore")
                if text:
                    with suppress(RuntimeError):  # the format does not hold this text
                        setattr(self._file, name, text)
            stack.push(self._finish)
            self._stack = stack.pop_all()

    def write(self, block: np.ndarray) -> np.ndarray:
        """Append a block `[channel, sample]` (or `[sample]` to a file of one channel); return it as far as it fits.

        Raises:
            AudioError: for another number of channels, a sample that is not finite, a full disk, or a file that has
                become too long for its format.
        """
        block = np.atleast_2d(np.asarray(block, dtype=np.float32))
        if block.ndim != 2 or len(block) != self.channels:
            raise AudioError(f"{self.path}: expected [{self.channels}, sample], found an array of shape {block.shape}")
        check_finite(block, self.path, self.samples)
        if self._stack is None:
            self._open()
        if self.subtype not in ("FLOAT", "DOUBLE"):
            block = block.clip(-1, 1)
        with self._explaining_errors():
            for start in range(0, block.shape[1], _BLOCK_SAMPLES):
                self._file.write(block[:, start : start + _BLOCK_SAMPLES].T)
            if self.format in _FORMATS_OF_32_BITS and os.path.getsize(self._temporary) > _MAX_BYTES:
                raise ValueError("it ends at 4 GiB: choose flac, rf64 or w64")
        self.samples += block.shape[1]
        return block

    def __exit__(self, *failure: Any) -> None:
        with self._explaining_errors():
            if self._stack is not None:
                self._stack.__exit__(*failure)
            elif failure[0] is None:
                raise ValueError("no samples")

    def _finish(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Close the file; after success, check that all samples arrived on the disk."""
        with suppress(RuntimeError) if kind else nullcontext():
            self._file.close()
        if kind:
            return
        if self.samples == 0:
            raise ValueError("no samples")
        # libsndfile does not report every failed write of a compressed format. More samples than were written are
        # the padding of codings that work in blocks.
        on_disk = soundfile.info(library_name(self._temporary)).frames
        if self.format != "MP3" and on_disk < self.samples:
            raise OSError(f"only {on_disk} of {plural(self.samples, 'sample')} arrived; is the disk full?")
        headers.correct(self._temporary, self.samples)
        if self._is_flac_in_ogg:
            wrap_in_ogg(self._temporary)
        if self._on_finish is not None:
            self._on_finish(self._temporary)

    @contextmanager
    def _explaining_errors(self) -> Iterator[None]:
        """Turn errors of the system, soundfile and libsndfile into an AudioError of one line."""
        try:
            yield
        except (OSError, RuntimeError, AssertionError, ValueError, TypeError) as error:
            form = f"{self.format} {self.subtype}, {plural(self.channels, 'channel')}, {self.sample_rate} Hz"
            raise AudioError(f"cannot write {self.path} ({form}): {reason(error)}") from None
