"""What the articulators do in recordings, into files: `phonemi invert`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from phonemi import audio
from phonemi.errors import AudioError, ConfigError, DataError, nearest
from phonemi.inference.plan import plan
from phonemi.inversion.inverter import Inverter
from phonemi.inversion.textgrid import write_textgrid_points
from phonemi.inversion.tracks import Tracks, write_tracks
from phonemi.progress import Progress
from phonemi.signal import SAMPLE_RATE
from phonemi.tables import plural

FORMATS = ("csv", "npz", "TextGrid")


def plan_tracks(inputs: Sequence[Path], output: str, extension: str | None = None) -> list[tuple[Path, Path]]:
    """Pair every recording with the file of its tracks; a folder keeps its tree below `output`.

    Args:
        inputs: sound files, folders and patterns.
        output: one file, whose suffix says its format, for one recording; else a folder.
        extension: of the files in a folder, of `FORMATS`; None: csv.

    Raises:
        ConfigError: for another format, a file for several recordings, or two recordings with one output.
        AudioError: if there is no recording.
    """
    suffixes = {f".{name}".lower(): f".{name}" for name in FORMATS}
    if extension is not None and f".{extension}".lower() not in suffixes:
        raise ConfigError(f"unknown format {extension!r} of tracks; {nearest(extension, FORMATS)}")
    path = Path(output)
    if path.suffix.lower() in suffixes:
        if len(inputs) != 1 or not inputs[0].is_file():
            if len(inputs) == 1 and not inputs[0].exists():
                raise AudioError(f"no such file or folder: {inputs[0]}")
            raise ConfigError(f"{output} is one file: for folders and several inputs, name a folder as output")
        if extension is not None:
            raise ConfigError(f"{output} says its format itself: to use --format, name a folder")
        return [(inputs[0], path)]
    if path.suffix and len(inputs) == 1 and inputs[0].is_file() and not (output.endswith("/") or path.exists()):
        raise ConfigError(
            f"{output}: cannot write {path.suffix}: {nearest(path.suffix, FORMATS)}; a folder ends with /"
        )
    suffix = suffixes[f".{extension or FORMATS[0]}".lower()]
    pairs = [(source, target.with_suffix(suffix)) for source, target in plan(inputs, f"{output.rstrip('/')}/")]
    twice = [target for target, count in Counter(target for _, target in pairs).items() if count > 1]
    if twice:
        raise ConfigError(f"several recordings would be written to {twice[0]}: give them folders of their own")
    return pairs


def invert_recording(inverter: Inverter, source: Path, smooth: bool = False) -> tuple[Tracks, str]:
    """The tracks of a recording, and what should be said of it: why nothing is known, or nothing.

    Raises:
        AudioError: if it cannot be read.
    """
    tracks = inverter.invert_file(source, smooth=smooth)
    return tracks, "; ".join(sorted(set(tracks.reasons.values())))


def save_tracks(target: Path, tracks: Tracks, overwrite: bool = False) -> None:
    """Write tracks in the format that the suffix says.

    Raises:
        DataError: if the file is there, and is not to be replaced.
    """
    if target.exists() and not overwrite:
        raise DataError(f"{target} is there already: --overwrite replaces it")
    if target.suffix.lower() == ".textgrid":
        write_textgrid_points(target, tracks)
    else:
        write_tracks(target, tracks)


def invert_recordings(
    inverter: Inverter,
    pairs: Sequence[tuple[Path, Path]],
    progress: Progress,
    smooth: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Write the tracks of every recording; returns why some could not be. One that fails does not stop the others."""
    failed = []
    for source, target in progress.over(pairs, "inverting"):
        try:
            tracks, note = invert_recording(inverter, source, smooth)
            save_tracks(target, tracks, overwrite)
        except (AudioError, DataError) as error:
            failed.append(str(error))
            continue
        if note:
            progress.say(f"note: {source}: {note}: nothing is known of it")
    if len(pairs) > 1:
        progress.say(f"phonemi: {len(pairs) - len(failed)} of {plural(len(pairs), 'recording')} inverted")
    return failed


def draw_recording(
    inverter: Inverter, source: Path, plot: Path | None, page: Path | None, smooth: bool = False
) -> None:
    """Draw the tracks of a recording over its spectrogram (`plot`: png, svg or pdf), or a page with a moving mouth.

    Raises:
        AudioError, ConfigError: if it cannot be read, or the suffix of `plot` is another.
        MissingExtra: if matplotlib is not installed.
    """
    from phonemi.report.articulation import Articulation, articulation_figure, write_articulation_page
    from phonemi.report.figure_style import write_figure

    tracks, waveform = inverter.invert_file(source, smooth=smooth), audio.load(source, SAMPLE_RATE)
    if plot is not None:
        write_figure(articulation_figure(waveform, SAMPLE_RATE, tracks), plot)
    if page is not None:
        write_articulation_page(page, source.name, [Articulation(source.name, tracks, waveform, SAMPLE_RATE)])
