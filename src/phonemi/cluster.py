"""Ray, the engine that runs one piece of work on many machines: the cluster of RAY_ADDRESS, or one of this machine."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

from phonemi.errors import PhonemiError, one_line, require_extra

STORE_BYTES = 1 << 28  # of shared memory, for names and outcomes: no sound, states or weights pass through it


class Cluster(NamedTuple):
    """What a cluster has."""

    ray: ModuleType  # connected to it
    cores: int
    gpus: int
    is_own: bool  # started here, so that it ends with the block


@contextmanager
def ray_cluster(spare_cores: int = 0) -> Iterator[Cluster]:
    """Connect to the cluster of RAY_ADDRESS, or to the one that the caller has initialised, or start one here.

    Args:
        spare_cores: so many more than there are, if it is started here.

    Raises:
        MissingExtra: if Ray is not installed.
        PhonemiError: if it cannot be reached or started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the rest is for its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a warning about a later version
    ray = require_extra("ray", "cluster")
    is_joined = ray.is_initialized()
    is_own = not (is_joined or os.environ.get("RAY_ADDRESS"))
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if is_own:
        there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        options |= {"num_cpus": there + spare_cores, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    handler = signal.getsignal(signal.SIGTERM)
    if not is_joined:
        try:
            ray.init("local" if is_own else None, **options)
        except Exception as error:  # Ray has several, and no name for all
            raise PhonemiError(f"Ray does not start: {one_line(error)}") from error
    signal.signal(signal.SIGTERM, handler)  # Ray has its own, which leaves no time to clean up
    try:
        resources = ray.cluster_resources()
        yield Cluster(ray, int(resources.get("CPU", 1)), int(resources.get("GPU", 0)), is_own)
    finally:
        if not is_joined:
            ray.shutdown()
