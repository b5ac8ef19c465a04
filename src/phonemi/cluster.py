"""Ray, the engine that runs one piece of work on many machines: joined where it runs, else started on this one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from phonemi.errors import PhonemiError, one_line, require_extra


@contextmanager
def ray_cluster() -> Iterator[ModuleType]:
    """The module `ray`, connected to the cluster of RAY_ADDRESS, one that runs here, or a new one of this machine.

    A cluster that was started here ends with the block; so does the connection to another one.

    Raises:
        MissingExtra: if Ray is not installed.
        PhonemiError: if it cannot be reached or started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require_extra("ray", "cluster")
    if ray.is_initialized():  # by the caller
        yield ray
        return
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    except Exception as error:
        raise PhonemiError(f"Ray does not start: {one_line(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()
