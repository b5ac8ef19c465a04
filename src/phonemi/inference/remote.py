"""Recordings behind URLs such as s3://bucket/a.wav: copied to this machine, enhanced, and put where they belong.

fsspec reaches the stores, and finds their credentials by itself. What was written is known by its mark, a small JSON
object in the folder `.phonemi-enhanced` beside the output. The mark is written twice: before the output appears, and
when it is there, with its version as the store tells it. So an output is either what its mark says, or made again,
whenever a run was killed. A store of objects shows an output only when it is whole, and so does a disk of this machine.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from phonemi import audio
from phonemi.errors import AudioError, MissingExtra, PhonemiError, one_line
from phonemi.files import replacing, temporary_folder
from phonemi.inference.chunks import ChunkEnhancer
from phonemi.inference.plan import SHARD, Pair, is_shard, output_name
from phonemi.inference.record import FAILED, RECORD_NAME, Age, Origin, Record, decisive
from phonemi.inference.recordings import enhance_group
from phonemi.inference.shards import enhance_shard
from phonemi.inference.summary import OTHERWISE, THERE, Outcome

# What stores tell of the version of an object, the most reliable first.
VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "created")
TRANSFERS = 8  # at the same time


def plan_urls(
    inputs: Iterable[str], output: str, suffix: str = "", extension: str | None = None
) -> list[tuple[str, str]]:
    """Pair every recording with its output, as `plan` does, where any of the inputs or the output is a URL.

    Raises:
        AudioError: if a place cannot be reached or holds no recording.
        MissingExtra: if fsspec needs another package to reach it.
    """
    inputs, extensions = list(inputs), (*audio.EXTENSIONS, SHARD)
    pairs: list[tuple[str, str]] = []
    for url in inputs:
        recordings = _find(url)
        if recordings and recordings[0][0] == url:  # a file
            (_, name), below_output = recordings[0], _path(output).suffix.lower()
            if len(inputs) == 1 and below_output in extensions and not output.endswith("/"):
                if suffix or is_shard(name) != is_shard(output) or (extension and not is_shard(name)):
                    raise AudioError(f"{output} is the full name of one output: name a folder, which ends with /")
                return [(url, output)]
        else:
            recordings = [
                (source, name)
                for source, name in recordings
                if (path := PurePosixPath(name)).suffix.lower() in extensions
                and not any(part.startswith(".") for part in path.parts)
                and not (suffix and path.stem.endswith(suffix))
                and not source.startswith(_join(output, ""))
            ]
        if not recordings:
            raise AudioError(f"no recordings in {url}: expected {', '.join(extensions)}")
        for source, name in recordings:
            pairs.append((source, _join(output, output_name(Path(name), suffix, extension).as_posix())))
    return list(dict.fromkeys(pairs))


def _find(url: str) -> list[tuple[str, str]]:
    """The files of one input, a file, folder or pattern, each with its name below the folder."""
    fs, path = _open(url)
    parts = url.partition("::")[0].split("/")
    plain = list(takewhile(lambda part: not set(part) & set("*?["), parts))
    folder = _join(url, "") if plain == parts else f"{'/'.join(plain)}/{''.join(url.partition('::')[1:])}"
    try:
        if plain == parts and fs.isfile(path):
            return [(url, _path(url).name)]
        files = sorted(fs.find(path) if plain == parts else filter(fs.isfile, fs.glob(path)))
    except Exception as error:  # each store has its own
        raise AudioError(f"cannot list {url}: {one_line(error)}") from None
    root = _open(folder)[1].rstrip("/")
    names = [file.removeprefix(root).lstrip("/") for file in files]
    return [(_join(folder, name), name) for name in names]


@dataclass
class Copy:
    """A recording, or a shard, that is copied to this machine, and its enhanced version."""

    source: str
    target: str
    noisy: Path
    enhanced: Path
    origin: Origin = field(default_factory=dict)
    again: str | None = None  # why it is enhanced though it was before
    outcomes: list[Outcome] = field(default_factory=list)  # once it is known what became of it

    def fail(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, (PhonemiError, OSError)) else one_line(error)
        self.outcomes = [Outcome(self.source, self.target, "failed", reason or type(error).__name__)]

    def named(self, outcome: Outcome) -> Outcome:
        """The outcome of the files on this machine, or of members of such a shard, by URLs."""
        places = {str(self.noisy): self.source, str(self.enhanced): self.target}
        texts = [str(outcome.source), str(outcome.target), outcome.reason or ""]
        for path, url in places.items():
            texts = [text.replace(path, url) for text in texts]
        return replace(outcome, source=texts[0], target=texts[1], reason=texts[2] or self.again)


def enhance_urls(
    enhancer: ChunkEnhancer,
    pairs: Sequence[Pair],
    extension: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> list[Outcome]:
    """What `enhance_group` and, for a single shard, `enhance_shard` do, where sources or targets are URLs."""
    origin = {"format": extension, **enhancer.origin(**decisive(options))}
    with temporary_folder("urls") as folder, ThreadPoolExecutor(TRANSFERS) as pool:
        (folder / "noisy").mkdir()
        copies = []
        for number, (source, target) in enumerate(pairs):
            noisy, enhanced = (f"{number}{_path(str(place)).suffix}" for place in (source, target))
            copies.append(Copy(str(source), str(target), folder / "noisy" / noisy, folder / "enhanced" / enhanced))
        list(pool.map(lambda copy: _fetch(copy, origin, overwrite), copies))
        ready = [copy for copy in copies if not copy.outcomes]
        files = [(copy.noisy, copy.enhanced) for copy in ready]
        if files and is_shard(files[0][0]):
            results = [enhance_shard(enhancer, *files[0], Record(), extension, overwrite=True, **options)]
        else:
            results = [[outcome] for outcome in enhance_group(enhancer, files, Record(), overwrite=True, **options)]
        list(pool.map(_store, ready, results))
    return [outcome for copy in copies for outcome in copy.outcomes]


def _fetch(copy: Copy, origin: Origin, overwrite: bool) -> None:
    """Copy a source to this machine, unless its target is there as it would be made."""
    try:
        fs, path = _open(copy.source)
        info = fs.info(path)
        copy.origin = {"recording": _version(info), **origin}
        age, failures = ("new", {}) if overwrite else _age(copy.target, copy.origin)
        if age == "same":
            skipped = Outcome(copy.source, copy.target, "skipped", THERE)
            failed = [Outcome(f"{copy.source}/{name}", copy.target, "failed", why) for name, why in failures.items()]
            copy.outcomes = [skipped, *failed]
            return
        copy.again = OTHERWISE if age == "other" else None
        fs.get_file(path, str(copy.noisy))
        if info.get("size") not in (None, copy.noisy.stat().st_size):
            raise AudioError(f"{copy.source} changed while it was being read: run again")
    except Exception as error:  # each store has its own
        copy.fail(error)


def _store(copy: Copy, outcomes: list[Outcome]) -> None:
    """Put the enhanced version where it belongs, unless there is none."""
    copy.outcomes = [copy.named(outcome) for outcome in outcomes]
    failed = (outcome for outcome in copy.outcomes if outcome.state == "failed")
    failures = {str(outcome.source).removeprefix(f"{copy.source}/"): outcome.reason for outcome in failed}
    if not copy.enhanced.exists():
        return
    try:
        mark = copy.origin | ({FAILED: failures} if failures else {})
        _write_mark(copy.target, {"written": None, "origin": mark})
        fs, path = _open(copy.target)
        _put(copy.enhanced, fs, path)
        _write_mark(copy.target, {"written": _version(fs.info(path)), "origin": mark})
    except Exception as error:  # each store has its own
        copy.fail(error)


def _age(target: str, origin: Origin) -> tuple[Age, dict[str, str]]:
    """What `Record.age` says of files; and, of a shard that is there, why some of its recordings are not in it."""
    fs, path = _open(target)
    if not fs.exists(path):
        return "new", {}
    mark_fs, mark_path = _open(_mark(target))
    mark = json.loads(mark_fs.cat_file(mark_path)) if mark_fs.exists(mark_path) else {}
    if not mark or (mark["written"] is not None and mark["written"] != _version(fs.info(path))):
        raise AudioError(
            f"{target} is there already, and no mark says that phonemi made it as it is: choose another output, or "
            "replace it with --overwrite"
        )
    failures = mark["origin"].pop(FAILED, {})
    if mark["written"] is None:  # the run that wrote it was killed, and it may be what was there before
        return "new", {}
    if mark["origin"] == origin:
        return "same", failures
    return ("other" if mark["origin"]["recording"] == origin["recording"] else "new"), {}


def _write_mark(target: str, mark: dict[str, Any]) -> None:
    with temporary_folder("mark") as folder:
        (folder / "mark.json").write_text(json.dumps(mark))
        _put(folder / "mark.json", *_open(_mark(target)))


def _mark(target: str) -> str:
    head, *rest = target.partition("::")
    folder, slash, name = head.rpartition("/")
    return f"{folder}{slash}{RECORD_NAME}/{name}.json{''.join(rest)}"


def _put(file: Path, fs: AbstractFileSystem, path: str) -> None:
    if isinstance(fs, LocalFileSystem):
        with replacing(path) as temporary:
            shutil.copyfile(file, temporary)
        return
    try:
        fs.put_file(str(file), path)
    except FileNotFoundError:  # where folders must be made first
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        fs.put_file(str(file), path)


def _version(info: dict[str, Any]) -> str:
    kind = next((kind for kind in VERSIONS if info.get(kind) is not None), "size")
    return f"{info.get('size')} bytes, {kind} {info.get(kind)}"


def _open(url: str) -> tuple[AbstractFileSystem, str]:
    try:
        fs, path = url_to_fs(url)
    except ImportError as error:
        raise MissingExtra(f"{url}: {one_line(error)}") from None
    except Exception as error:  # a protocol that nobody knows, no credentials, ...
        raise AudioError(f"cannot reach {url}: {one_line(error)}") from None
    return fs, path


def _path(url: str) -> PurePosixPath:
    """The path in the first part of a URL, which names the file."""
    return PurePosixPath(url.partition("::")[0])


def _join(folder: str, name: str) -> str:
    """A file below a folder.

    >>> _join("s3://bucket/in", "a.wav"), _join("dir://in::file:///data", "a.wav")
    ('s3://bucket/in/a.wav', 'dir://in/a.wav::file:///data')
    """
    head, *rest = folder.partition("::")
    return f"{head if head.endswith('/') else f'{head}/'}{name}{''.join(rest)}"
