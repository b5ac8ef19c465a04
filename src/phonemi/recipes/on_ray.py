"""A table made on a Ray cluster: a task for each model, on whichever machines of the cluster are free.

All of them need one file system, as launches with `--shard` do. A task is a shard that trains and scores one model and
skips what is there: so tasks of workers that die are simply run again. What models share is made by the first that
needs it, while the others wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from phonemi.activity import read_activities
from phonemi.cluster import ray_cluster
from phonemi.errors import require_extra
from phonemi.interruption import Interruption
from phonemi.progress import Progress, quiet
from phonemi.recipes.table import TableRequest, make_table, table_runs
from phonemi.stages.run import CLAIMS

REPORT_S = 2.0


def make_table_on_ray(request: TableRequest) -> Path:
    """`make_table` with the models shared among the GPUs of the cluster or, if it has none, its CPUs.

    Raises:
        MissingExtra, PhonemiError: if Ray is missing or does not start; and what `make_table` raises, of the first
            model that fails, when the others that were running have been stopped where they can go on.
    """
    runs = table_runs(request)  # what is wrong with them is said now
    request = request._replace(out=request.out.resolve(), manifests=request.manifests and request.manifests.resolve())
    tasks = max(len(run.systems) for run in runs)
    with ray_cluster() as (ray, cores, gpus, _):
        resources = {"num_gpus": 1, "num_cpus": max(1, cores // gpus)} if gpus else {"num_cpus": 1}
        task = ray.remote(max_retries=-1, **resources)(_make_share)
        running = [task.remote(request, (number, tasks)) for number in range(1, tasks + 1)]
        with Interruption(), Progress().task(f"models of table {request.name}", tasks) as progress:
            try:
                while running:
                    done, running = ray.wait(running, timeout=REPORT_S)
                    ray.get(done)  # raises what a task raised
                    doing = [activity for run in runs for activity in read_activities(run.folder / CLAIMS)]
                    progress.advance(len(done), "; ".join(activity.label for activity in doing))
            except BaseException:
                _stop(ray, running)
                raise
    path = make_table(request)  # everything is there: this joins it
    assert path is not None
    return path


def _make_share(request: TableRequest, shard: tuple[int, int]) -> None:
    """In a process of Ray: one model, and nothing said but what goes wrong."""
    import torch

    ray = require_extra("ray", "cluster")
    torch.set_num_threads(max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))))
    with quiet():
        make_table(request._replace(overrides=(*request.overrides, "enhance.jobs=1")), shard)


def _stop(ray: ModuleType, running: Sequence[Any]) -> None:
    """Interrupt the tasks, as Ctrl-C does, and wait until they have written where they are."""
    for reference in running:
        ray.cancel(reference)
    for reference in running:
        with suppress(Exception):
            ray.get(reference, timeout=60)
