"""Recordings on disk -> enhanced recordings on disk: long files in overlapping chunks, folders, skip what is done."""

from __future__ import annotations

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


def enhance_file(enhancer: Enhancer, source: Path, target: Path) -> None:
    """Enhance one file: same sample rate, channels, length and, for the same extension, sample format.

    Memory does not grow with the length: chunks of 30 s overlap by 1 s and are cross-faded. A failure leaves nothing
    under the final name.

    Raises:
        AudioError: naming the file and what is wrong with it.
    """
    if target.resolve() == source.resolve():
        raise AudioError(f"{source} would be overwritten by its own enhancement: choose another output")
    info = audio.probe(source)
    same_format = source.suffix.lower() == target.suffix.lower()
    format_, subtype = (info.format, info.subtype) if same_format else (None, None)
    with audio.Writer(target, info.sample_rate, info.channels, format_, subtype) as writer:
        for block in _enhanced_blocks(enhancer, source, info):
            writer.write(block)


def _enhanced_blocks(enhancer: Enhancer, source: Path, info: audio.AudioInfo) -> Iterator[np.ndarray]:
    """Enhanced [channel, sample] blocks that join without a seam and have the input's length in total."""
    chunk, overlap = int(CHUNK_S * info.sample_rate), int(OVERLAP_S * info.sample_rate)
    fade_in = np.linspace(0, 1, overlap, dtype=np.float32)
    carried = np.zeros((info.channels, 0), np.float32)  # input samples that the next chunk starts with
    tail = None  # enhanced end of the previous chunk, to be cross-faded with the next one's beginning
    for block in audio.blocks(source, chunk - overlap):
        if not np.isfinite(block).all():
            raise AudioError(f"{source}: {int((~np.isfinite(block)).sum())} samples are NaN or infinite")
        enhanced = enhancer.enhance(np.concatenate([carried, block], axis=1), info.sample_rate)
        if tail is not None:
            width = tail.shape[1]
            fade = fade_in[:width]
            enhanced[:, :width] = tail * (1 - fade) + enhanced[:, :width] * fade
        keep = enhanced.shape[1] - overlap if enhanced.shape[1] > overlap else 0
        yield enhanced[:, :keep]
        tail = enhanced[:, keep:]
        carried = np.concatenate([carried, block], axis=1)[:, keep:]
    if tail is not None:
        yield tail


def plan(inputs: Iterable[Path], output: Path) -> list[tuple[Path, Path]]:
    """Pair every recording with where its enhancement goes; a folder keeps its tree below `output`.

    One input file and an output with an audio extension: that very file. Otherwise `output` is a folder.

    Raises:
        AudioError: if there is nothing to enhance, or two inputs would be written to one place.
    """
    inputs = list(inputs)
    if len(inputs) == 1 and inputs[0].is_file() and output.suffix.lower() in audio.EXTENSIONS and not output.is_dir():
        return [(inputs[0], output)]
    pairs: list[tuple[Path, Path]] = []
    for source in inputs:
        if source.is_dir():
            inside = [path for path in audio.find_recordings(source) if output.resolve() not in path.resolve().parents]
            pairs += [(path, output / path.relative_to(source)) for path in inside]
        else:
            pairs.append((source, output / source.name))
    if not pairs:
        named = ", ".join(str(path) for path in inputs) or "no input"
        raise AudioError(f"no recordings in {named}: expected {', '.join(audio.EXTENSIONS)}")
    taken: dict[Path, Path] = {}
    for source, target in pairs:
        if target in taken:
            raise AudioError(f"{taken[target]} and {source} would both be written to {target}: enhance them apart")
        taken[target] = source
    return pairs


def enhance_files(
    enhancer: Enhancer, pairs: list[tuple[Path, Path]], progress: Progress, skip_existing: bool = True
) -> Summary:
    """Enhance every pair of (source, target); a file that fails is reported and does not stop the others."""
    summary = Summary()
    with progress.task("enhancing", len(pairs)) as task:
        for source, target in pairs:
            if skip_existing and target.exists():
                summary.skipped.append(source)
            else:
                try:
                    enhance_file(enhancer, source, target)
                    summary.done.append(source)
                except PhonemiError as error:
                    summary.failed[source] = str(error)
            task.advance(1)
    return summary
