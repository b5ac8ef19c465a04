"""Planning which files are read, and where their enhanced versions go."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from glob import glob
from itertools import chain, takewhile
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from phonemi import audio
from phonemi.errors import AudioError, nearest

Place = Path | str  # where a recording is: a path, or the text of a URL
Pair = tuple[Place, Place]  # a recording, and its enhanced version
AnyPair = TypeVar("AnyPair", bound=Pair)
SHARD = ".tar"  # extension of a set of recordings in one file
# Codings of which every file has its exact length, by the beginnings of their names.
EXACT_CODINGS = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")
LENGTH_TOLERANCE_S = 0.25  # for all others, which pad or miscount: frames of mp3, blocks of ADPCM


def plan(
    inputs: Iterable[Path],
    output: str | Path,
    suffix: str = "",
    extension: str | None = None,
    shards: bool = False,
) -> list[tuple[Path, Path]]:
    """Pair every recording with its output file; a folder or pattern keeps its tree below `output`.

    If there is one recording and `output` has an audio extension, it is the output file. Otherwise it is a folder.
    Files inside `output` are never inputs. Neither is a file that sits where another input's output belongs and has
    that output's rate, channels and length: it is left over from an earlier run.

    Args:
        inputs: files, folders, and patterns with `*`, `?`, `[...]` or `**` (any number of folders).
        output: file or folder; a name that ends with a slash is a folder.
        suffix: inserted before the extension of every output. Files in folders and matches of patterns that have it
            already are results of an earlier run and no inputs.
        extension: of every output, such as "flac"; None: that of its source, or wav if that cannot be written.
        shards: list tar files too, which hold recordings; their outputs are tar files.

    Raises:
        AudioError: if an input is missing, there is no recording, all of them have `conflicts`, or the extension of
            the output is none that can be written.
    """
    inputs, is_folder, output = list(inputs), str(output).endswith(("/", os.sep)), Path(output)
    extensions = (*audio.EXTENSIONS, SHARD) if shards else audio.EXTENSIONS
    recordings_of = {path: _find_recordings(path, output, suffix, extensions) for path in inputs}
    if missing := [str(path) for path in inputs if not path.exists() and not recordings_of[path]]:
        raise AudioError(f"no such file or folder: {', '.join(missing)}")
    recordings = [recording for path in inputs for recording in recordings_of[path]]
    if not recordings:
        names = ", ".join(str(path) for path in inputs) or "no input"
        raise AudioError(f"no recordings in {names}: expected {', '.join(extensions)}")
    names_file = output.suffix.lower() in extensions and not (is_folder or output.is_dir())
    if names_file and len(recordings) == 1 and not inputs[0].is_dir():
        if is_shard(inputs[0]):
            if suffix or not is_shard(output):
                raise AudioError(f"{inputs[0]} is a set of recordings: name a folder, or a {SHARD} file, as output")
        elif suffix or format_extension(extension or output.suffix) != format_extension(output.suffix):
            raise AudioError(f"{output} is the full name of the output: to use --suffix or --format, name a folder")
        return _each_once([(recordings[0][0], output)])
    if names_file or output.is_file():
        raise AudioError(f"{output} is one file: for folders and several inputs, name a folder as output")
    if output.suffix and len(inputs) == 1 and inputs[0].is_file() and not (is_folder or output.exists()):
        advice = nearest(output.suffix, audio.WRITABLE)
        raise AudioError(f"{output}: cannot write {output.suffix}: {advice}; for a folder, end the name with /")
    pairs = [(source, output / output_name(below, suffix, extension)) for source, below in recordings]
    return _each_once(_without_results(pairs, inputs))


def is_shard(place: Place) -> bool:
    """Whether a file is a set of recordings, by its name."""
    return Path(str(place).partition("::")[0]).suffix.lower() == SHARD


def _find_recordings(path: Path, output: Path, suffix: str, extensions: tuple[str, ...]) -> list[tuple[Path, Path]]:
    """Recordings of one input, each with its path below the output folder."""
    if path.is_file():
        return [(path, Path(path.name))]
    if path.is_dir():
        root, files = path, audio.find_recordings(path, extensions)
    else:
        root = Path(*takewhile(lambda part: not set(part) & set("*?["), path.parts))
        # The pattern may name another extension. One without an extension does not ask for files without one.
        extensions = tuple({*extensions, path.suffix.lower()} - {""})
        matches = [Path(match) for match in glob(str(path), recursive=True)]
        files = [match for match in matches if not match.is_dir() and match.suffix.lower() in extensions]
        folders = [match for match in matches if match.is_dir()]
        below = (audio.find_recordings(folder, extensions) for folder in folders)
        files = _without_repetitions([*files, *chain.from_iterable(below)])
    if root.resolve() in output.resolve().parents:
        files = [file for file in files if output.resolve() not in file.resolve().parents]
    return [(file, file.relative_to(root)) for file in files if not suffix or not file.stem.endswith(suffix)]


def _without_repetitions(files: Iterable[Path]) -> list[Path]:
    """Sorted files; one that links reach by several paths, perhaps in circles, is listed under the shortest."""
    shortest_last = sorted(files, key=lambda file: (len(file.parts), file), reverse=True)
    return sorted({file.parent.resolve() / file.name: file for file in shortest_last}.values())


def output_name(path: Path, suffix: str, extension: str | None) -> Path:
    """Path of the output of a recording, below the output folder.

    >>> print(output_name(Path("x/a.ogg"), "-clean", None), output_name(Path("talk.m4a"), "", None))
    x/a-clean.ogg talk.wav
    """
    end = format_extension(extension) if extension else audio.output_suffix(path)
    name = f"{path.stem}{suffix}{path.suffix if is_shard(path) else end}"
    if Path(name).name != name:
        raise AudioError(f"{suffix!r} cannot be part of a file name")
    return path.with_name(name)


def format_extension(format_name: str) -> str:
    """The extension of files of a format: ".flac" for "FLAC", "flac" and ".flac"."""
    extension = f".{format_name.removeprefix('.').lower()}"
    if extension not in audio.WRITABLE:
        raise AudioError(f"cannot write {format_name} files: {nearest(extension, audio.WRITABLE)}")
    return extension


def _without_results(pairs: list[tuple[Path, Path]], inputs: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Leave out pairs whose source is the output of an earlier run, unless the user named it as an input."""
    resolve = _resolver()
    named_inputs = set(map(resolve, inputs))
    sources = {resolved: source for source, target in pairs if (resolved := resolve(target)) != resolve(source)}

    def is_result(path: str) -> bool:
        with suppress(AudioError):
            if path in sources and path not in named_inputs:
                return _has_same_form(audio.probe(sources[path]), audio.probe(path))
        return False

    return [(source, target) for source, target in pairs if not is_result(resolve(source))]


def share_of_files(pairs: Sequence[AnyPair], shard: tuple[int, int]) -> list[AnyPair]:
    """The pairs of shard (i, n), counted from 1, by a hash of the output: the same when other files come or go.

    >>> pairs = [(Path("a.wav"), Path("out/a.wav")), (Path("b.wav"), Path("out/b.wav"))]
    >>> sorted(share_of_files(pairs, (1, 2)) + share_of_files(pairs, (2, 2))) == pairs
    True
    """
    number, shards = shard
    return [pair for pair in pairs if crc32(os.fsencode(pair[1])) % shards == number - 1]


def _each_once(pairs: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Each pair once. Raise AudioError if not one of them can be enhanced for `conflicts`."""
    pairs = list(dict.fromkeys(pairs))
    reasons = conflicts(pairs)
    if pairs and len(reasons) == len(pairs):
        raise AudioError(reasons[pairs[0]])
    return pairs


def conflicts(pairs: Sequence[Pair]) -> dict[Pair, str]:
    """Why some pairs cannot be enhanced: their target has two sources or is a source itself."""
    resolve = _resolver()
    resolved = {resolve(source) for source, _ in pairs}
    counts = Counter(str(target) for _, target in pairs)
    sources_of: dict[Place, list[str]] = defaultdict(list)
    for source, target in pairs:
        if counts[str(target)] > 1:
            sources_of[target].append(str(source))
    reasons = {}
    for source, target in pairs:
        if target in sources_of:
            sources = " and ".join(sources_of[target])
            reasons[source, target] = f"{sources} would both be written to {target}: use two outputs"
        elif resolve(target) in resolved:
            reasons[source, target] = f"{target} is an input and would be overwritten: choose another output"
    return reasons


def is_url(place: Place) -> bool:
    """Whether a file is named by a URL, such as s3://bucket/a.wav or zip://a.wav::s3://bucket/a.zip."""
    return isinstance(place, str) and "://" in place


def _resolver() -> Callable[[Place], str]:
    """Give the real paths of files; each folder is looked up once, for there may be a hundred thousand files in it."""
    folders: dict[str, str] = {}

    def resolve(place: Place) -> str:
        if is_url(place):
            return str(place)
        folder, name = os.path.split(place)
        if name in ("", ".", ".."):
            return os.path.realpath(place)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        path = os.path.join(folders[folder], name)
        return os.path.realpath(path) if os.path.islink(path) else path

    return resolve


def _has_same_form(source: audio.AudioInfo, output: audio.AudioInfo) -> bool:
    """Whether rate and channels are equal, and the lengths as far as the codings state them exactly."""
    if (output.sample_rate, output.channels) != (source.sample_rate, source.channels):
        return False
    exact = all(coding.startswith(EXACT_CODINGS) for coding in (source.subtype, output.subtype))
    return abs(output.samples - source.samples) <= (0 if exact else LENGTH_TOLERANCE_S * source.sample_rate)
