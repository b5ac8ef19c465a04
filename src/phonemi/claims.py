"""Pieces of work that one process at a time may do, whichever of several launches it belongs to, and on which machine.

A claim is a lock on a file beside the result (`filelock`: flock, which NFS has too). The system gives it back when the
process that holds it ends, however it ends: the work of a dead worker is free again at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

logging.getLogger("filelock").setLevel(logging.WARNING)  # it logs every claim at --debug


@contextmanager
def claimed(path: Path, wait: bool = False, say: Callable[[str], None] | None = None) -> Iterator[bool]:
    """Claim what the file `path` stands for, which is made beside the result, and stays.

    What the work would make must be looked for after the claim: another process may have made it meanwhile.

    Args:
        path: the file; its folder is created if absent.
        wait: until it is free, instead of giving up.
        say: is told once that it waits.

    Yields:
        Whether the claim is held; always with `wait`.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            yield False
            return
        if say is not None:
            say(f"waiting for another process, which holds {path}")
        lock.acquire()
    try:
        yield True
    finally:
        lock.release()


def share(
    pieces: Mapping[str, Callable[[], None]],
    claim: Callable[[str, bool], AbstractContextManager[bool]],
    wait: bool = True,
) -> None:
    """Do work that several launches share: first the pieces that nobody is at, then, waiting, the others.

    Args:
        pieces: name of a claim -> the work, which looks first whether another process has done it.
        claim: `claimed`, of a name and of whether it waits.
        wait: for the others to end; without it, what they are at is left to them.
    """
    left = dict(pieces)
    for waits in (False, True) if wait else (False,):
        for name, work in list(left.items()):
            with claim(name, waits) as is_ours:
                if is_ours:
                    work()
                    del left[name]


def share_of(count: int, shard: tuple[int, int] | None) -> range:
    """Positions of a list of `count` that shard (i, n), counted from 1, deals with: every n-th; None: all.

    >>> list(share_of(7, (2, 3))), len(share_of(7, None))
    ([1, 4], 7)
    """
    number, shards = shard or (1, 1)
    return range(number - 1, count, shards)
