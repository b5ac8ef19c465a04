"""Recordings of any number, in files, in tar shards and behind URLs: enhanced task by task, in flat memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from phonemi.files import remove_leftovers
from phonemi.inference.chunks import ChunkEnhancer
from phonemi.inference.plan import Pair, conflicts, is_shard, is_url
from phonemi.inference.record import Record
from phonemi.inference.recordings import enhance_group
from phonemi.inference.shards import enhance_shard
from phonemi.inference.summary import Outcome
from phonemi.progress import Progress

FILES_A_TASK = 1000  # whose headers are read before the first of them is enhanced
URLS_A_TASK = 16  # whose files lie on this machine at the same time


@dataclass(frozen=True)
class Task:
    """What is enhanced together: one tar shard, or some files, or what some URLs name."""

    pairs: list[Pair]
    reasons: dict[Pair, str]  # why some of them cannot be enhanced


def enhance_corpus(
    enhancer: ChunkEnhancer,
    pairs: Sequence[Pair],
    progress: Progress | None = None,
    part: str | None = None,
    **options: Any,
) -> Iterator[Outcome]:
    """Enhance every source to its target, and yield what became of each recording, in the order of `pairs`.

    Args:
        enhancer, progress: see `enhance_file`.
        pairs: files, tar shards and URLs, as `plan` and `plan_urls` return them.
        part: see `Record`.
        options: see `enhance_files`; `extension`: see `enhance_shard`.
    """
    tasks, record, progress = plan_tasks(pairs), Record(part), progress or Progress(enabled=False)
    clean_up(pairs)
    if len(tasks) == 1 and not is_shard(pairs[0][0]):  # few enough to read first how long they last
        yield from run_task(enhancer, tasks[0], record, progress, **options)
        return
    with progress.task("files", len(pairs)) as shown:
        recordings = 0
        for task in tasks:
            outcomes = run_task(enhancer, task, record, **options)
            recordings += len(outcomes)
            shown.advance(len(task.pairs), f"{recordings} recordings")
            yield from outcomes


def plan_tasks(pairs: Sequence[Pair], files: int = FILES_A_TASK) -> list[Task]:
    """Tasks of up to so many files each, or up to `URLS_A_TASK` URLs, or one shard; in the order of the pairs."""
    reasons, tasks = conflicts(pairs), []
    sizes = {"shard": 1, "url": min(files, URLS_A_TASK), "file": files}
    for kind, members in groupby(pairs, key=_kind):
        while some := list(islice(members, sizes[kind])):
            tasks.append(Task(some, {pair: reasons[pair] for pair in some if pair in reasons}))
    return tasks


def _kind(pair: Pair) -> str:
    if is_shard(pair[0]):
        return "shard"
    return "url" if is_url(pair[0]) or is_url(pair[1]) else "file"


def run_task(
    enhancer: ChunkEnhancer,
    task: Task,
    record: Record,
    progress: Progress | None = None,
    extension: str | None = None,
    **options: Any,
) -> list[Outcome]:
    """Enhance what a task names; arguments as for `enhance_corpus`."""
    possible = [pair for pair in task.pairs if pair not in task.reasons]
    failed = [Outcome(*pair, "failed", task.reasons[pair]) for pair in task.pairs if pair in task.reasons]
    if not possible:
        return failed
    source, target = possible[0]
    if is_url(source) or is_url(target):
        from phonemi.inference.remote import enhance_urls  # fsspec

        outcomes = enhance_urls(enhancer, possible, extension=extension, **options)
    elif is_shard(source):
        outcomes = enhance_shard(enhancer, Path(source), Path(target), record, extension, **options)
    else:
        paths = [(Path(source), Path(target)) for source, target in possible]
        outcomes = enhance_group(enhancer, paths, record, progress, **options)
    return outcomes if not failed else _in_order(task.pairs, [*failed, *outcomes])


def _in_order(pairs: Sequence[Pair], outcomes: Sequence[Outcome]) -> list[Outcome]:
    positions = {str(source): position for position, (source, _) in enumerate(pairs)}
    return sorted(outcomes, key=lambda outcome: positions[str(outcome.source)])


def clean_up(pairs: Sequence[Pair]) -> None:
    """Remove what killed processes left beside the targets."""
    remove_leftovers(Path(target) for _, target in pairs if not is_url(target))
