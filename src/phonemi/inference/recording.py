"""The way of one recording, from one file to another."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phonemi import audio
from phonemi.inference.chunks import OverlapAdd, overlapping, plan_cut
from phonemi.inference.protocol import Condition, EnhancedChunk


@dataclass(eq=False)
class Chunk:
    """A piece of a recording.

    Attributes:
        noisy: float32 `[channel, sample]` at the rate of the recording.
        sample_rate: in Hz.
        new_samples: how many of its samples no earlier chunk contains.
        is_last: whether the recording ends with it.
        enhanced: its enhanced version, set by the caller of `enhance_recording`.
    """

    noisy: np.ndarray
    sample_rate: int
    new_samples: int
    is_last: bool
    enhanced: EnhancedChunk | None = None


def enhance_recording(
    reader: audio.Reader, target: Path, chunk_s: float, overlap_s: float
) -> Generator[Chunk | None, None, list[str]]:
    """Read a recording, cut it into chunks, join the enhanced chunks, and write them.

    The network is not called here but by the caller, because it may enhance chunks of several recordings together.
    Therefore this is a generator. It yields each chunk as soon as it is read, then None for as long as chunks that it
    yielded are not enhanced. Every time the caller resumes it, it writes the chunks whose `enhanced` has been set. If
    the caller throws an exception into it or closes it, nothing is left under the target's name.

    Args:
        reader: the recording.
        target: where to write; another extension than that of the recording chooses another format, with 16 bits for
            wav and flac.
        chunk_s: longest chunk, in seconds; infinite: the whole recording at once.
        overlap_s: overlap of neighbouring chunks, in seconds.

    Returns:
        What a listener should know of the recording, one sentence each.

    Raises:
        AudioError: if the recording cannot be read, changes meanwhile, or cannot be written.
    """
    info = reader.info
    cut = plan_cut(info.samples, info.sample_rate, chunk_s, overlap_s)
    overlap_add = OverlapAdd(cut.overlap)
    waiting: deque[Chunk] = deque()  # read, but not written yet
    condition: Condition | None = None  # sum over the chunks

    def write_enhanced() -> None:
        nonlocal condition
        while waiting and (enhanced := waiting[0].enhanced) is not None:
            condition = enhanced.condition if condition is None else condition + enhanced.condition
            writer.write(overlap_add.add(enhanced.waveform, waiting.popleft().is_last))

    with audio.Writer(
        target, info.sample_rate, info.channels, *_coding(info, target), info.metadata, info.samples
    ) as writer:
        for noisy, new_samples, is_last in overlapping(reader.blocks(cut.new_samples), cut.overlap):
            waiting.append(Chunk(noisy, info.sample_rate, new_samples, is_last))
            # Before it resumes this generator, the caller has the chunk enhanced, with others of its kind or alone.
            # The enhancer brings it to the sample rate of its network and back.
            yield waiting[-1]
            write_enhanced()
        while waiting:
            yield None
            write_enhanced()
        reader.check_unchanged()
    return condition.texts() if condition is not None else []


def _coding(info: audio.AudioInfo, target: Path) -> tuple[str | None, str | None]:
    """Format and subtype of the output: those of the recording if the extension is the same, else the usual ones."""
    if Path(info.path).suffix.lower() != target.suffix.lower() or info.is_converted:
        return None, None
    return audio.output_coding(info.format, info.subtype, target)
