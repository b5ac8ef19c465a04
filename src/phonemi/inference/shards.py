"""Tar shards in the layout of webdataset: sets of recordings in one file, which come out as shards of the same name.

Members with one name up to the first dot, one after the other, are a sample: `0001.wav`, `0001.json`. A shard is read
and written as a stream, a few samples at a time, and no member becomes a file under its own name. The new shard appears
when all of it is enhanced, and a line in the record of its folder says of what and how, as for other files.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from phonemi import audio
from phonemi.errors import AudioError, PhonemiError
from phonemi.files import replacing, temporary_folder
from phonemi.inference.chunks import ChunkEnhancer
from phonemi.inference.plan import format_extension
from phonemi.inference.record import FAILED, Record, decisive, fingerprint
from phonemi.inference.recordings import enhance_group
from phonemi.inference.summary import OTHERWISE, THERE, Outcome

SAMPLES_AT_ONCE = 8  # for each waveform of a batch, so that some are about as long as others


class Member(NamedTuple):
    """A file in a shard."""

    header: tarfile.TarInfo
    content: bytes


Sample = list[Member]


def enhance_shard(
    enhancer: ChunkEnhancer,
    source: Path,
    target: Path,
    record: Record,
    extension: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> list[Outcome]:
    """Enhance the recordings of a shard; samples keep their order and names, and their other members are copied.

    A sample with a recording that fails is left out. The record keeps why, so that a second call, which has nothing to
    do, says it again.

    Args:
        enhancer, record, overwrite, options: see `enhance_group`.
        source, target: tar files.
        extension: of every recording in the target, such as "flac"; None: see `plan`.

    Returns:
        One outcome for each recording, named as if the shard were a folder; a single one for a shard that fails.
    """
    outcomes: list[Outcome] = []
    try:
        if target.resolve() == source.resolve():
            raise AudioError(f"{source} would be overwritten by its own enhancement: choose another output")
        origin = {"recording": fingerprint(source), "format": extension, **enhancer.origin(**decisive(options))}
        age = "new" if overwrite else record.age(source, target, origin)
        if age == "same":
            return _skipped(source, target, extension, (record.origin(target) or {}).get(FAILED, {}))
        with replacing(target) as temporary:
            with tarfile.open(temporary, "w") as shard, temporary_folder("shard") as folder:
                samples = _samples(source)
                while group := list(islice(samples, SAMPLES_AT_ONCE * options.get("batch_size", 1))):
                    enhanced, new = _enhance(enhancer, group, folder, (source, target), extension, options)
                    outcomes += new
                    for header, content in enhanced:
                        shard.addfile(header, io.BytesIO(content))
                    _forget_headers(shard)
            if not outcomes:
                raise AudioError(f"no recordings in {source}: expected members such as 0001.wav and 0001.flac")
            failed = (outcome for outcome in outcomes if outcome.state == "failed")
            failures = {str(Path(outcome.source).relative_to(source)): outcome.reason for outcome in failed}
            record.add(target, temporary, origin | ({FAILED: failures} if failures else {}))
    except tarfile.TarError as error:
        return [Outcome(source, target, "failed", f"{source} is damaged, or no tar file: {error}")]
    except (PhonemiError, OSError) as error:
        return [Outcome(source, target, "failed", str(error))]
    if age == "other":
        return [replace(outcome, reason=outcome.reason or OTHERWISE) for outcome in outcomes]
    return outcomes


def _enhance(
    enhancer: ChunkEnhancer,
    samples: Sequence[Sample],
    folder: Path,
    shards: tuple[Path, Path],
    extension: str | None,
    options: dict[str, Any],
) -> tuple[list[Member], list[Outcome]]:
    """The members of the new shard, and what became of each recording; by way of temporary files in `folder`."""
    noisy, enhanced = folder / "noisy", folder / "enhanced"
    noisy.mkdir()
    pairs: list[tuple[Path, Path]] = []
    for header, content in (member for sample in samples for member in sample):
        if _is_recording(header.name):
            target = enhanced / f"{len(pairs)}{PurePosixPath(_output_name(header.name, extension)).suffix}"
            pairs.append((noisy / f"{len(pairs)}{PurePosixPath(header.name).suffix}", target))
            pairs[-1][0].write_bytes(content)
    files = iter(enhance_group(enhancer, pairs, Record(), overwrite=True, **options))
    members, outcomes = [], []
    written = (target for _, target in pairs)
    for sample in samples:
        new_members, has_failed = [], False
        for header, content in sample:
            name = header.name
            if _is_recording(name):
                name, outcome, path = _output_name(name, extension), next(files), next(written)
                has_failed |= outcome.state == "failed"
                content = b"" if has_failed else path.read_bytes()
                outcomes.append(_named(outcome, shards[0] / header.name, shards[1] / name))
            new_members.append(Member(_header(header, name, len(content)), content))
        members += [] if has_failed else new_members
    shutil.rmtree(noisy)
    shutil.rmtree(enhanced, ignore_errors=True)  # it is not there when all failed
    return members, outcomes


def _named(outcome: Outcome, source: Path, target: Path) -> Outcome:
    """The outcome of temporary files, with the names of members."""
    reason = outcome.reason and outcome.reason.replace(str(outcome.source), str(source))
    reason = reason and reason.replace(str(outcome.target), str(target))
    return replace(outcome, source=source, target=target, reason=reason)


def _skipped(source: Path, target: Path, extension: str | None, failures: dict[str, str]) -> list[Outcome]:
    """What became of each recording when the shard was enhanced."""
    outcomes = []
    for header in _headers(source):
        if _is_recording(header.name):
            outcome = Outcome(source / header.name, target / _output_name(header.name, extension), "skipped", THERE)
            if (reason := failures.get(str(Path(header.name)))) is not None:
                outcome.state, outcome.reason = "failed", reason
            outcomes.append(outcome)
    return outcomes


def _samples(path: Path) -> Iterator[Sample]:
    """The samples of a shard, in its order; AudioError or TarError if it is damaged, or holds more than files."""
    with tarfile.open(path, "r|") as shard:
        members = ((header, shard.extractfile(header)) for header in _checked(shard, path))
        contents = (Member(header, file.read()) for header, file in members if file is not None)
        for _, sample in groupby(contents, key=lambda member: _key(member.header.name)):
            yield list(sample)


def _headers(path: Path) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(path, "r:") as shard:
        yield from _checked(shard, path)


def _checked(shard: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """The headers of the files in a shard, which must end as tar files do, or it is cut short."""
    while (header := shard.next()) is not None:
        _forget_headers(shard)
        name = PurePosixPath(header.name)
        if name.is_absolute() or ".." in name.parts or not (header.isreg() or header.isdir()):
            raise AudioError(f"{path} holds {header.name!r}: expected files with names inside it, no links")
        if header.isreg():
            yield header
    with open(path, "rb") as file:
        file.seek(shard.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise AudioError(f"{path} is damaged, or cut short: there is no end of a tar file at byte {shard.offset}")


def _forget_headers(shard: tarfile.TarFile) -> None:
    vars(shard)["members"] = []  # it would keep all of them


def _key(name: str) -> tuple[str, str]:
    """Folder of a member, and its name up to the first dot, which all members of a sample share.

    >>> _key("x/0001.noisy.wav")
    ('x', '0001')
    """
    folder, _, name = name.rpartition("/")
    return folder, name.partition(".")[0]


def _is_recording(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in audio.EXTENSIONS and not path.name.startswith(".")


def _output_name(name: str, extension: str | None) -> str:
    """Name of a recording in the new shard; its extension is chosen as for a file.

    >>> _output_name("./x/0001.WAV", None), _output_name("0001.noisy.m4a", None), _output_name("0001.wav", "flac")
    ('./x/0001.WAV', '0001.noisy.wav', '0001.flac')
    """
    suffix = format_extension(extension) if extension else audio.output_suffix(name)
    return name.removesuffix(PurePosixPath(name).suffix) + suffix


def _header(header: tarfile.TarInfo, name: str, size: int) -> tarfile.TarInfo:
    """The header of a new member: owner, mode and date are kept, but nothing that depends on size or name."""
    new = tarfile.TarInfo(name)
    new.size, new.mtime, new.mode = size, int(header.mtime), header.mode
    new.uid, new.gid, new.uname, new.gname = header.uid, header.gid, header.uname, header.gname
    return new
