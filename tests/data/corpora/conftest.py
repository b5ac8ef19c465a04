"""A server in this process that hands out the archives of made-up corpora."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from phonemi.data.corpora import download


class Served(NamedTuple):
    """What lies in `folder` is at `url`; `requests` are the paths that were asked for."""

    folder: Path
    url: str
    requests: list[str]


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(download, "_PAUSE_S", 0.0)
    # The address is this machine: a proxy of the environment must not be asked for it.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path_factory.mktemp("served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Served(folder, f"http://127.0.0.1:{server.server_port}", requests)
        server.shutdown()
        thread.join()
