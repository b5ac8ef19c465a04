"""`phonemi enhance --on ray`: the tasks of a corpus, shared by the workers of a Ray cluster or of this machine.

Ray only chooses who does a task. A worker holds one model and writes its outputs as one process would; so a task that
goes to another worker, because the first was killed, goes on where that one was. What fails comes back as an outcome,
never as an exception, which would end the work of all.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch

from phonemi.cluster import ray_cluster
from phonemi.errors import ModelError, PhonemiError, one_line, require_extra
from phonemi.inference.chunks import ChunkEnhancer
from phonemi.inference.corpus import Task, clean_up, plan_tasks, run_task
from phonemi.inference.plan import Pair
from phonemi.inference.record import Record
from phonemi.inference.summary import Outcome
from phonemi.progress import Progress

FILES_A_TASK = 16
MIN_TASKS = 4  # for each worker, so that all end at about the same time
MAX_TASKS = 10_000  # Ray holds some kilobytes about each

Row = dict[str, Any]  # of a table of Ray


def enhance_on_ray(
    load: Callable[[], ChunkEnhancer],
    pairs: Sequence[Pair],
    progress: Progress | None = None,
    use_gpus: bool | None = None,
    **options: Any,
) -> Iterator[Outcome]:
    """What `enhance_corpus` does, by a worker for each GPU or core; of the cores of a cluster, one stays free.

    Args:
        load: makes the model of a worker, on its device.
        pairs, progress, options: see `enhance_corpus`.
        use_gpus: None: if there are any.

    Raises:
        MissingExtra: if Ray is not installed.
        ModelError: if the workers cannot start, or there is no GPU to use.
    """
    data = require_extra("ray.data", "cluster")
    clean_up(pairs)
    with ray_cluster(spare_cores=1) as (_, cores, gpus, is_own):
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = data.DataContext.get_current()
        context.enable_progress_bars, context.print_on_execution_start = False, False
        if use_gpus and not gpus:
            raise ModelError("Ray has no GPU to offer: choose --device cpu")
        on_gpus = gpus > 0 and use_gpus is not False
        # Where workers take all cores, Ray waits for ever (ray-project/ray#44687).
        workers = max(1, min(cores - 1, gpus) if on_gpus else cores - 1)
        files = min(max(FILES_A_TASK, len(pairs) // MAX_TASKS), -(-len(pairs) // (MIN_TASKS * workers)))
        tasks = plan_tasks(pairs, files)
        rows = (
            data.from_items([_to_row(*numbered) for numbered in enumerate(tasks)], override_num_blocks=len(tasks))
            .map(
                Worker,
                fn_constructor_args=(load, os.getcwd(), not is_own, options),
                compute=data.ActorPoolStrategy(size=workers),
                num_cpus=1 if cores > 1 else 0.5,
                num_gpus=1 if on_gpus else 0,
            )
            .iter_rows()
        )
        try:
            yield from _in_order(rows, tasks, progress or Progress(enabled=False))
        except PhonemiError:
            raise
        except Exception as error:  # Ray has several, and no name for all
            cause = (str(error).strip() or type(error).__name__).splitlines()[-1]  # after its traceback
            raise ModelError(f"a worker of Ray failed: {cause.strip()}") from error
    clean_up(pairs)  # after workers that were killed


class Worker:
    """Does one task after the other, with a model of its own."""

    def __init__(
        self, load: Callable[[], ChunkEnhancer], folder: str, is_shared: bool, options: dict[str, Any]
    ) -> None:
        os.chdir(folder)  # of the command, because paths may be relative
        torch.set_num_threads(1)
        self._enhancer, self._options = load(), options
        self._record = Record(platform.node() if is_shared else None)

    def __call__(self, row: Row) -> Row:
        content = json.loads(row["task"])
        pairs = [(source, target) for source, target in content["pairs"]]
        task = Task(pairs, {(source, target): reason for source, target, reason in content["reasons"]})
        outcomes = [asdict(outcome) for outcome in self._run(task)]
        return {"number": row["number"], "outcomes": json.dumps(outcomes, default=str)}

    def _run(self, task: Task) -> list[Outcome]:
        try:
            return run_task(self._enhancer, task, self._record, **self._options)
        except Exception as error:
            if len(task.pairs) == 1:
                reason = f"unexpected {type(error).__name__}: {one_line(error)}"
                return [Outcome(*task.pairs[0], "failed", reason)]
        # One recording at a time, so that only the one at fault fails.
        return [outcome for pair in task.pairs for outcome in self._run(Task([pair], task.reasons))]


def _to_row(number: int, task: Task) -> Row:
    pairs = [(str(source), str(target)) for source, target in task.pairs]
    reasons = [(str(source), str(target), reason) for (source, target), reason in task.reasons.items()]
    return {"number": number, "task": json.dumps({"pairs": pairs, "reasons": reasons})}


def _in_order(rows: Iterator[Row], tasks: Sequence[Task], progress: Progress) -> Iterator[Outcome]:
    """The outcomes in the order of the tasks; Ray gives them in the order in which the tasks end."""
    early: dict[int, list[Outcome]] = {}
    recordings = following = 0
    with progress.task("files", sum(len(task.pairs) for task in tasks)) as shown:
        for row in rows:
            outcomes = [Outcome(**outcome) for outcome in json.loads(row["outcomes"])]
            recordings += len(outcomes)
            shown.advance(len(tasks[row["number"]].pairs), f"{recordings} recordings")
            early[row["number"]] = outcomes
            while following in early:
                yield from early.pop(following)
                following += 1
    if following < len(tasks):
        raise ModelError(f"Ray ended after {following} of {len(tasks)} tasks: run the same command again to go on")
