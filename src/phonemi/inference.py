"""Recordings on disk -> enhanced recordings on disk: long files in overlapping chunks, folders, skip what is done."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from phonemi import audio
from phonemi.errors import AudioError, PhonemiError
from phonemi.models.enhancer import Enhancer
from phonemi.progress import Progress

CHUNK_S = 30.0
OVERLAP_S = 1.0


@dataclass
class Summary:
    """What became of each file."""

    done: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)

    def line(self) -> str:
        """One sentence for the terminal."""
        parts = [f"{len(self.done)} enhanced"]
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped (already there)")
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        return ", ".join(parts)


def enhance_file(
    enhancer: Enhancer, source: Path, target: Path, chunk_s: float = CHUNK_S, overlap_s: float = OVERLAP_S
) -> None:
    """Enhance one file: same sample rate, channels, length and, for the same extension, format and sample format.

    Memory does not grow with the length of the file. A failure leaves nothing under the target's name.

    Args:
        enhancer: see `Enhancer.enhance`.
        source: any sound file.
        target: where to; another extension than the source's chooses another format, with 16 bits for wav and flac.
        chunk_s: the most that is enhanced at once.
        overlap_s: what two chunks share: a quarter at each end is context only, the half between is cross-faded.

    Raises:
        AudioError: naming the file and what is wrong with it.
    """
    info = audio.probe(source)
    if target.resolve() == source.resolve():
        raise AudioError(f"{source} would be overwritten by its own enhancement: choose another output")
    same_format = source.suffix.lower() == target.suffix.lower()
    format_, subtype = (info.format, info.subtype) if same_format else (None, None)
    with audio.Writer(target, info.sample_rate, info.channels, format_, subtype) as writer:
        for block in _enhanced_blocks(enhancer, info, chunk_s, overlap_s):
            writer.write(block)


def _enhanced_blocks(
    enhancer: Enhancer, info: audio.AudioInfo, chunk_s: float, overlap_s: float
) -> Iterator[np.ndarray]:
    """Enhanced [channel, sample] blocks that join without a seam and have the input's length in total."""
    # Chunks begin on the 20 ms grid of the encoder, so that all frames are those of the whole recording. They are
    # equally long, because a short last one would be enhanced with hardly any context.
    frame = max(1, info.sample_rate // 50)
    overlap = round(overlap_s * info.sample_rate / frame) * frame
    longest_step = max(1, round(chunk_s * info.sample_rate - overlap) // frame) * frame
    chunks = math.ceil(info.samples / longest_step)
    step = math.ceil(info.samples / chunks / frame) * frame
    noisy = tail = np.zeros((info.channels, 0), np.float32)
    for block in audio.blocks(info.path, step):
        noisy = np.concatenate([noisy[:, noisy.shape[1] - tail.shape[1] :], block], axis=1)
        enhanced = enhancer.enhance(noisy, info.sample_rate)
        shared = tail.shape[1]
        fade = np.linspace(-0.5, 1.5, shared, dtype=np.float32).clip(0, 1)
        enhanced[:, :shared] = tail * (1 - fade) + enhanced[:, :shared] * fade
        kept = max(0, enhanced.shape[1] - overlap)
        yield enhanced[:, :kept]
        tail = enhanced[:, kept:]
    yield tail


def plan(inputs: Iterable[Path], output: Path) -> list[tuple[Path, Path]]:
    """Pair every recording with where its enhancement goes; a folder keeps its tree below `output`.

    One input file and an output with an audio extension: that very file. Otherwise `output` is a folder; if it lies
    inside an input folder, what it holds is no input.

    Raises:
        AudioError: if an input is missing, there is nothing to enhance, two inputs would be written to one place, or
            one of them would be overwritten.
    """
    inputs = list(inputs)
    if absent := [str(path) for path in inputs if not path.exists()]:
        raise AudioError(f"no such file or folder: {', '.join(absent)}")
    names_file = output.suffix.lower() in audio.EXTENSIONS and not output.is_dir()
    if names_file and len(inputs) == 1 and inputs[0].is_file():
        pairs = [(inputs[0], output)]
    elif names_file or output.is_file():
        raise AudioError(f"{output} is one file: for folders and several inputs name a folder as output")
    else:
        pairs = [pair for source in inputs for pair in _below(source, output)]
    if not pairs:
        named = ", ".join(str(path) for path in inputs) or "no input"
        raise AudioError(f"no recordings in {named}: expected {', '.join(audio.EXTENSIONS)}")
    sources = {source.resolve() for source, _ in pairs}
    taken: dict[Path, Path] = {}
    for source, target in pairs:
        if taken.setdefault(target, source) != source:
            raise AudioError(f"{taken[target]} and {source} would both be written to {target}: enhance them apart")
        if target.resolve() in sources:
            raise AudioError(f"{target} is an input and would be overwritten: choose another output")
    return [(source, target) for target, source in taken.items()]


def _below(source: Path, output: Path) -> list[tuple[Path, Path]]:
    """Pairs for one input, a file or a folder, and an output folder."""
    if not source.is_dir():
        return [(source, output / source.name)]
    found = audio.find_recordings(source)
    if source.resolve() in output.resolve().parents:
        found = [path for path in found if output.resolve() not in path.resolve().parents]
    return [(path, output / path.relative_to(source)) for path in found]


def enhance_files(
    enhancer: Enhancer, pairs: list[tuple[Path, Path]], progress: Progress, skip_existing: bool = True
) -> Summary:
    """Enhance every pair of (source, target); a file that fails is reported and does not stop the others."""
    summary = Summary()
    with progress.task("enhancing", len(pairs)) as task:
        for source, target in pairs:
            try:
                if skip_existing and target.exists():
                    summary.skipped.append(source)
                else:
                    enhance_file(enhancer, source, target)
                    summary.done.append(source)
            except (PhonemiError, OSError) as error:
                summary.failed[source] = str(error)
            task.advance(1)
    return summary
