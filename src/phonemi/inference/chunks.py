"""A recording on disk -> overlapping chunks [channel, sample]; enhanced chunks -> a recording on disk, no seams."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import numpy as np

from phonemi import audio
from phonemi.enhancers.condition import Condition
from phonemi.errors import AudioError, PhonemiError

CHUNK_S = 30.0
# With the shipped enhancer and 80 s of LibriSpeech in white noise 5 dB below, chunks of 27 s differ from the whole by
# -32 to -33 dB, because attention, the LSTM and both levels see less, and by -29 to -31 dB around the seams, with
# overlaps of 0.5, 1, 2 and 4 s alike; SI-SDR is that of the whole. So a longer overlap buys nothing.
OVERLAP_S = 1.0


@dataclass(frozen=True, eq=False)
class Chunk:
    """A piece of a recording, or all of it, [channel, sample] at its own rate."""

    recording: RecordingFile
    noisy: np.ndarray
    new_samples: int  # the others were in the chunk before
    is_last: bool


class RecordingFile:
    """One recording on its way from disk to disk. What goes wrong with it ends its way and is kept in `error`.

    The file appears under the target's name only when all of it is there. The first `overlap` samples of a chunk are
    the last ones of the chunk before: a quarter at each end is context only, the half between is cross-faded.

    Args:
        source: any sound file.
        target: another extension than the source's chooses another format, with 16 bits for wav and flac.
        chunk_s: the most that is enhanced at once; infinite: the whole recording.
        overlap_s: what two chunks share.

    Attributes:
        info: header of the source.
        heard: what is wrong with the recording, for a listener to know.
        time_s: what was spent on it so far.

    Raises:
        AudioError: if the header cannot be read, or the source is the target.
    """

    def __init__(self, source: Path, target: Path, chunk_s: float = CHUNK_S, overlap_s: float = OVERLAP_S) -> None:
        self.source, self.target = source, target
        self._state = _state(source)
        self.info = info = audio.probe(source)
        if target.resolve() == source.resolve():
            raise AudioError(f"{source} would be overwritten by its own enhancement: choose another output")
        self.heard = Condition()
        self.error: PhonemiError | OSError | None = None
        self.time_s = 0.0
        # Chunks begin on the 20 ms grid of the encoder, so that all frames are those of the whole recording.
        frame = max(1, info.sample_rate // 50)
        self.overlap = round(overlap_s * info.sample_rate / frame) * frame
        pieces = 1
        if chunk_s < math.inf:
            longest_step = max(1, round(chunk_s * info.sample_rate - self.overlap) // frame) * frame
            pieces = math.ceil(info.samples / longest_step)
        self.steps = _equal_steps(info.samples, pieces, frame)
        self._tail = np.zeros((info.channels, 0), np.float32)
        self._writer: audio.Writer | None = None

    def chunks(self) -> Iterator[Chunk]:
        """Read one chunk after the other."""
        with self.keeping_errors():
            self._check_unchanged()
            noisy = self._tail
            with audio.decoded(self.source) as path:
                now = audio.probe(path)
                if (now.sample_rate, now.channels) != (self.info.sample_rate, self.info.channels):
                    raise self._changed()
                for pieces, is_last in self._new_pieces(audio.blocks(path, max(self.steps))):
                    noisy = np.concatenate([noisy[:, max(0, noisy.shape[1] - self.overlap) :], *pieces], axis=1)
                    yield Chunk(self, noisy, sum(piece.shape[1] for piece in pieces), is_last)
                    if self.error is not None:
                        break

    def _new_pieces(self, blocks: Iterator[np.ndarray]) -> Iterator[tuple[list[np.ndarray], bool]]:
        """What each chunk has that those before have not, and whether it is the last: a header may be wrong."""
        rest = next(blocks, None)
        steps = chain(self.steps, repeat(max(self.steps)))
        while rest is not None:
            pieces: list[np.ndarray] = []
            step = next(steps)
            while step > 0 and rest is not None:
                if len(rest) != self.info.channels:
                    raise self._changed()
                pieces.append(rest[:, :step])
                step, rest = step - pieces[-1].shape[1], rest[:, step:]
                if rest.shape[1] == 0:
                    rest = next(blocks, None)
            yield pieces, rest is None

    def write(self, enhanced: np.ndarray, is_last: bool) -> None:
        """Join the next enhanced chunk, [channel, sample], to those before; the last one makes the file appear."""
        with self.keeping_errors():
            if self._writer is None:
                self._writer = self._open()
            shared = self._tail.shape[1]
            fade = np.linspace(-0.5, 1.5, shared, dtype=np.float32).clip(0, 1)
            enhanced[:, :shared] = self._tail * (1 - fade) + enhanced[:, :shared] * fade
            kept = enhanced.shape[1] if is_last else max(0, enhanced.shape[1] - self.overlap)
            self._writer.write(enhanced[:, :kept])
            self._tail = enhanced[:, kept:].copy()
            if is_last:
                self._check_unchanged()
                self._close()

    def _open(self) -> audio.Writer:
        info = self.info
        # What ffmpeg made of a file is of 32-bit floats, which say nothing of the file.
        same_format = self.source.suffix.lower() == self.target.suffix.lower() and not info.is_converted
        coding = audio.output_coding(info.format, info.subtype, self.target) if same_format else (None, None)
        writer = audio.Writer(self.target, info.sample_rate, info.channels, *coding, info.metadata, info.samples)
        return writer.__enter__()

    def _check_unchanged(self) -> None:
        """Refuse what is not the recording any more whose header was read: part of it may be old, and part new."""
        if _state(self.source) != self._state:
            raise self._changed()

    def _changed(self) -> AudioError:
        return AudioError(f"{self.source} changed while it was being enhanced: run again")

    def _close(self, failure: BaseException | None = None) -> None:
        """End the file, if it is open: under its name, or not at all after a failure."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.__exit__(failure and type(failure), failure, None)

    @contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Keep what goes wrong inside the block in `error`, and take back what is written so far."""
        try:
            yield
        except (PhonemiError, OSError) as error:
            self.fail(error)
        except MemoryError:
            self.fail(AudioError(f"{self.source} takes more memory than is free here: make the chunks shorter"))

    def fail(self, error: PhonemiError | OSError) -> None:
        """End its way here: what is written so far is taken back."""
        self.error = error
        self._close(error)


def _equal_steps(samples: int, pieces: int, frame: int) -> list[int]:
    """Lengths of pieces that end on multiples of `frame` samples, the last one where the recording does.

    They differ by one frame at most, because a short last piece would be enhanced with hardly any context.

    >>> _equal_steps(42, pieces=4, frame=3)
    [12, 9, 12, 9]
    """
    ends = [-(-piece * samples // (pieces * frame)) * frame for piece in range(1, pieces)]
    return [end - start for start, end in zip([0, *ends], [*ends, samples], strict=True)]


def _state(path: Path) -> tuple[int, int] | None:
    """What changes when a file does: time of the last change in ns, and bytes; None if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return found.st_mtime_ns, found.st_size
