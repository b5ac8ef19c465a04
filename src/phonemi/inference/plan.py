"""Inputs (files, folders, patterns) and an output -> pairs of source and target, checked before the work starts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from glob import glob
from itertools import takewhile
from pathlib import Path

from phonemi import audio
from phonemi.errors import AudioError, nearest
from phonemi.inference.existing import same_form


def plan(
    inputs: Iterable[Path], output: str | Path, suffix: str = "", extension: str | None = None
) -> list[tuple[Path, Path]]:
    """Pair every recording with where its enhancement goes; a folder or a pattern keeps its tree below `output`.

    One recording and an output with an audio extension: that very file. Otherwise `output` is a folder; if it lies
    inside an input folder, what it holds is no input. Nor is what lies where the enhancement of another input goes, and
    looks like it: it was made by an earlier run.

    Args:
        inputs: files, folders, and patterns with `*`, `?`, `[...]` or `**` (any number of folders).
        output: file or folder; text that ends with a slash is a folder.
        suffix: goes before the extension of every output. What is found in folders and by patterns and has it already
            is the result of an earlier run, and no input.
        extension: of every output, such as "flac"; None: that of its source, or wav where that cannot be written.

    Raises:
        AudioError: if an input is missing, there is nothing to enhance, two inputs would be written to one place, or
            one of them would be overwritten; or the output of one recording is named like a format that is none.
    """
    inputs, is_folder, output = list(inputs), str(output).endswith(("/", os.sep)), Path(output)
    found = {path: _found(path, output, suffix) for path in inputs}
    if absent := [str(path) for path in inputs if not path.exists() and not found[path]]:
        raise AudioError(f"no such file or folder: {', '.join(absent)}")
    recordings = [recording for path in inputs for recording in found[path]]
    if not recordings:
        named = ", ".join(str(path) for path in inputs) or "no input"
        raise AudioError(f"no recordings in {named}: expected {', '.join(audio.EXTENSIONS)}")
    names_file = output.suffix.lower() in audio.EXTENSIONS and not (is_folder or output.is_dir())
    if names_file and len(recordings) == 1 and not inputs[0].is_dir():
        if suffix or (_ending(extension) if extension else output.suffix.lower()) != _ending(output.suffix):
            raise AudioError(f"{output} is the whole name of the output: for a suffix or a format name a folder")
        return _checked([(recordings[0][0], output)])
    if names_file or output.is_file():
        raise AudioError(f"{output} is one file: for folders and several inputs name a folder as output")
    if output.suffix and len(inputs) == 1 and inputs[0].is_file() and not (is_folder or output.exists()):
        known = nearest(output.suffix, audio.WRITABLE)
        raise AudioError(f"{output}: cannot write {output.suffix}: {known}; end it with / for a folder")
    pairs = [(source, output / _renamed(below, suffix, extension)) for source, below in recordings]
    return _checked(_without_results(pairs, {path.resolve() for path in inputs}))


def _found(path: Path, output: Path, suffix: str) -> list[tuple[Path, Path]]:
    """Recordings of one input, each with its place below the output."""
    if path.is_file():
        return [(path, Path(path.name))]
    if path.is_dir():
        root, found = path, audio.find_recordings(path)
    else:
        root = Path(*takewhile(lambda part: not set(part) & set("*?["), path.parts))
        found = [file for match in glob(str(path), recursive=True) for file in _matched(Path(match), path)]
        found = _each_once(found)
    if root.resolve() in output.resolve().parents:
        found = [file for file in found if output.resolve() not in file.resolve().parents]
    return [(file, file.relative_to(root)) for file in found if not suffix or not file.stem.endswith(suffix)]


def _matched(match: Path, pattern: Path) -> list[Path]:
    """Recordings of what a pattern matched: those in a folder, or a file that looks like one or was asked for."""
    if match.is_dir():
        return audio.find_recordings(match)
    # A pattern without an ending asks for no kind of file, and not for those without one.
    return [match] if match.suffix.lower() in {*audio.EXTENSIONS, pattern.suffix.lower()} - {""} else []


def _each_once(files: Iterable[Path]) -> list[Path]:
    """Files that a pattern found, sorted; each by its shortest path where links lead to its folder, even in circles."""
    shortest_last = sorted(files, key=lambda file: (len(file.parts), file), reverse=True)
    return sorted({file.parent.resolve() / file.name: file for file in shortest_last}.values())


def _renamed(path: Path, suffix: str, extension: str | None) -> Path:
    """Name of the output of a recording.

    >>> print(_renamed(Path("x/a.ogg"), "-clean", None), _renamed(Path("talk.m4a"), "", None))
    x/a-clean.ogg talk.wav
    """
    name = f"{path.stem}{suffix}{_ending(extension) if extension else audio.output_suffix(path)}"
    if Path(name).name != name:
        raise AudioError(f"{suffix!r} cannot be part of a name")
    return path.with_name(name)


def _ending(extension: str) -> str:
    """The ending that files of a format have, for its name: ".flac" for "FLAC" and "flac"."""
    ending = f".{extension.removeprefix('.').lower()}"
    if ending not in audio.WRITABLE:
        raise AudioError(f"cannot write {extension} files: {nearest(ending, audio.WRITABLE)}")
    return ending


def _without_results(pairs: list[tuple[Path, Path]], named: set[Path]) -> list[tuple[Path, Path]]:
    """Pairs whose source is not what an earlier run made of another one, unless it is one of those `named`."""
    sources = {target.resolve(): source for source, target in pairs if target.resolve() != source.resolve()}

    def is_result(path: Path) -> bool:
        if path in named or path not in sources:
            return False
        try:
            return same_form(audio.probe(sources[path]), audio.probe(path))
        except AudioError:
            return False

    return [(source, target) for source, target in pairs if not is_result(source.resolve())]


def _checked(pairs: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Each pair once; AudioError if a target has two sources, or is one itself."""
    sources = {source.resolve() for source, _ in pairs}
    taken: dict[Path, Path] = {}
    for source, target in pairs:
        if taken.setdefault(target, source) != source:
            raise AudioError(f"{taken[target]} and {source} would both be written to {target}: enhance them apart")
        if target.resolve() in sources:
            raise AudioError(f"{target} is an input and would be overwritten: choose another output")
    return [(source, target) for target, source in taken.items()]
