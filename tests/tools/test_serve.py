"""`phonemi serve` as clients see it: a server in a process of its own, good recordings, bad ones, and bad clients."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from phonemi import audio
from phonemi.aggregations import WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'phonemi[serve]'")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'phonemi[serve]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes by /proc"),
]
RATE = 16_000
GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "serve.md"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def error(self) -> str:
        """The line that says what went wrong; nothing else is in the answer."""
        assert self.headers["content-type"] == "application/json"
        (key, line), *others = json.loads(self.body).items()
        assert (key, others) == ("error", [])
        assert "\n" not in line
        assert "Traceback" not in line
        assert "phonemi-serve-" not in line, "no paths of the server"
        return str(line)


class Server:
    """A server, started at once; `ready` waits until it listens."""

    def __init__(self, folder: Path, model: Path, *options: object) -> None:
        self.temporary, self._log = folder / "temporary", folder / "log.txt"
        self.temporary.mkdir(parents=True, exist_ok=True)
        words = ["serve", "--port", 0, "--model", f"tiny={model}", *options]
        environment = os.environ | {"TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        with open(self._log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "phonemi.cli", *map(str, words)],
                stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
            )  # fmt: skip
        self.address = ("", 0)

    def ready(self) -> Server:
        if not self.address[1]:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            match = re.fullmatch(r"http://(127\.0\.0\.1):(\d+) \(Ctrl-C ends it\)\n", line)
            assert match, self.log
            self.address = match[1], int(match[2])
        return self

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection(*self.address, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def enhance(self, body: Any, query: str = "") -> Answer:
        return self.ask("POST", f"/enhance?{query}", body)

    def connect(self, *fields: str) -> socket.socket:
        """A connection on which the head of a POST to /enhance was sent."""
        connection = socket.create_connection(self.address, timeout=120)
        connection.sendall("\r\n".join(["POST /enhance HTTP/1.1", "Host: here", *fields, "", ""]).encode())
        return connection

    @property
    def recordings(self) -> int:
        """How many it has, as it says itself."""
        return int(json.loads(self.ask("GET", "/health").body)["recordings"])

    def wait_until_empty(self) -> None:
        wait_until(lambda: self.recordings == 0 and not list(self.temporary.glob("phonemi-serve-*/*")))

    def files(self, pattern: str) -> list[Path]:
        """What there is in the folders of its recordings."""
        return list(self.temporary.glob(f"phonemi-serve-*/*/{pattern}"))

    def wait_until_working(self) -> None:
        wait_until(lambda: self.files(".*.part*"), "a result is begun")

    def workers(self) -> list[int]:
        return [pid for pid in children(self.process.pid) if "spawn_main" in command_line(pid)]

    def end(self, number: signal.Signals) -> None:
        """A signal ends it with exit code 0, and nothing is left."""
        processes = children(self.process.pid)
        self.process.send_signal(number)
        assert self.process.wait(60) == 0, self.log
        wait_until(lambda: all(map(is_gone, processes)))
        assert list(self.temporary.iterdir()) == []
        assert "Traceback" not in self.log

    def kill(self) -> None:
        """What a test leaves, if it did not end the server."""
        self.process.kill()
        self.process.communicate()


def wait_until(true: Callable[[], object], what: str = "") -> None:
    deadline_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def stat(pid: int) -> list[str]:
    """State, parent, ... of a process; none if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_gone(pid: int) -> bool:
    """Whether a process has ended, with all of its threads, although it may still wait to be fetched."""
    return stat(pid)[:1] in ([], ["Z"]) and len(list(Path("/proc").glob(f"{pid}/task/*"))) <= 1


def children(parent: int) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if stat(pid)[1:2] == [str(parent)] and not is_gone(pid)]


def command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def memory_mb(pid: int) -> float:
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) / 1e3


def answer_on(connection: socket.socket) -> Answer:
    """The answer that comes on a connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response.status, response.headers, response.read())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = MelTransformer(
        MelTransformerConfig(mels=80, dim=16, blocks=1, heads=2, feedforward=16, position_kernel=31)
    )
    folder = tmp_path_factory.mktemp("tiny-model")
    Enhancer(encoder, WeightedSum(2), MaskEnhancer(16, hidden=4, layers=1)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def servers(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp("servers")
    both = (
        Server(folder / "roomy", model, "--workers", 2, "--queue", 6, "--max-mb", 12, "--transfer-s", 4),
        Server(folder / "narrow", model, "--queue", 0, "--time-limit-s", 5),
    )
    try:
        yield both
        for server, number in zip(both, (signal.SIGTERM, signal.SIGINT), strict=True):
            server.ready().end(number)
    finally:
        for server in both:
            server.kill()


@pytest.fixture
def server(servers: tuple[Server, Server]) -> Server:
    return servers[0].ready()


@pytest.fixture
def narrow(servers: tuple[Server, Server]) -> Server:
    """Has one worker, no queue and little time."""
    return servers[1].ready()


@pytest.fixture(scope="module")
def enhancer(model: Path) -> Iterator[Enhancer]:
    """What the server should do, with one thread as it has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Enhancer.from_pretrained(model)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A recording that is small, but takes a long time."""
    clicks = np.zeros(3600 * 4000, np.float32)
    clicks[::4000] = 0.5
    path = tmp_path_factory.mktemp("hour") / "hour.flac"
    audio.save(path, clicks, 4000)
    return path.read_bytes()


def recording(path: Path, seed: int = 0, channels: int = 1, rate: int = RATE, **coding: Any) -> Path:
    samples = 0.1 * np.random.default_rng(seed).standard_normal((channels, rate // 3 + seed))
    audio.save(path, samples, rate, **coding)
    return path


@pytest.mark.parametrize(
    ("name", "form", "query", "options"),
    [
        ("a.wav", {"channels": 2, "rate": 44_100, "subtype": "PCM_24"}, "", {}),
        ("a.flac", {"rate": 8000}, "mix=0.5&model=tiny&purpose=listening", {"mix": 0.5}),
        (
            "a.mp3",
            {"rate": 48_000},
            "attenuation_limit_db=6&upper_band=keep",
            {"attenuation_limit_db": 6.0, "upper_band": "keep"},
        ),
    ],
)
def test_the_samples_are_those_of_enhance_file(
    server: Server, enhancer: Enhancer, tmp_path: Path, name: str, form: dict, query: str, options: dict
) -> None:
    noisy = recording(tmp_path / name, **form)
    enhancer.enhance_file(noisy, tmp_path / f"expected-{name}", **options)
    answer = server.enhance(noisy.read_bytes(), query)
    assert answer.status == 200
    (tmp_path / f"came-{name}").write_bytes(answer.body)
    came, expected = audio.probe(tmp_path / f"came-{name}"), audio.probe(tmp_path / f"expected-{name}")
    assert replace(came, path="") == replace(expected, path="")
    assert (came.sample_rate, came.channels) == (form["rate"], form.get("channels", 1))
    np.testing.assert_array_equal(*(audio.load_channels(info.path)[0] for info in (came, expected)))
    assert answer.headers["content-type"].startswith("audio/")
    assert answer.headers.get_all("phonemi-note") is None


def test_what_is_noticed_is_in_the_header(server: Server, tmp_path: Path) -> None:
    time_s = np.arange(2 * RATE) / RATE
    audio.save(tmp_path / "a.wav", (np.sin(2 * np.pi * 300 * time_s) * 2).clip(-0.9, 0.9), RATE)
    notes = server.enhance((tmp_path / "a.wav").read_bytes()).headers.get_all("phonemi-note")
    assert notes[0].startswith("clipped: ")


def test_each_of_fifty_clients_gets_its_own_recording_or_is_told_to_come_again(
    server: Server, enhancer: Enhancer, tmp_path: Path
) -> None:
    expected = []
    for seed in range(50):
        noisy, enhanced = recording(tmp_path / f"{seed}.wav", seed), tmp_path / f"{seed}-expected.wav"
        enhancer.enhance_file(noisy, enhanced)
        expected.append(enhanced.read_bytes())
    assert len(set(expected)) == 50
    begin, refused = threading.Barrier(50), []

    def ask(seed: int) -> bytes:
        body = (tmp_path / f"{seed}.wav").read_bytes()
        begin.wait()
        while (answer := server.enhance(body)).status != 200:
            assert answer.status == 503
            assert "try again" in answer.error
            assert int(answer.headers["retry-after"]) > 0
            refused.append(seed)
            time.sleep(0.1)
        return answer.body

    with ThreadPoolExecutor(50) as clients:
        assert list(clients.map(ask, range(50))) == expected
    assert refused
    server.wait_until_empty()


def test_what_is_no_recording_is_one_line(server: Server, tmp_path: Path) -> None:
    whole = recording(tmp_path / "a.wav").read_bytes()
    audio.save(tmp_path / "nan.wav", np.zeros(1000), RATE, subtype="FLOAT")
    nan = (tmp_path / "nan.wav").read_bytes()[:-4] + np.float32(np.nan).tobytes()
    for body, reason in (
        (b"", "the recording is empty (0 bytes)"),
        (b"no sound " * 1000, "the recording is not sound"),
        (whole[:3000], "the recording is cut short"),
        (nan, "the recording: "),
    ):
        answer = server.enhance(body)
        assert answer.status == 422
        assert reason in answer.error, reason
    answer = server.ask("POST", "/enhance", b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status == 415
    assert "--data-binary" in answer.error
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("mix=1.5", "a mix of 1.5 is impossible: 0 leaves a recording as it is, 1 enhances it all"),
        ("mix=much", "mix is 'much': "),
        ("attenuation_limit_db=-1", "an attenuation limit of -1 dB would amplify: 0 or more"),
        ("upper_band=attenuated", "upper_band is 'attenuated': did you mean 'attenuate'?"),
        ("purpose=recognition", "enhancer has neither a network for recognition"),
        ("attenuation_limit=6", "there is no option 'attenuation_limit': did you mean 'attenuation_limit_db'?"),
        ("model=default", "no model 'default' is served: known: tiny"),
        ("model=/etc", "no model '/etc' is served: known: tiny"),
        ("model=someone/something", "no model 'someone/something' is served: known: tiny"),
    ],
)
def test_a_wrong_option_is_one_line(server: Server, tmp_path: Path, query: str, reason: str) -> None:
    answer = server.enhance(recording(tmp_path / "a.wav").read_bytes(), query)
    assert answer.status == 422
    assert answer.error.startswith(reason)


def test_what_it_says_about_itself(server: Server) -> None:
    assert json.loads(server.ask("GET", "/models").body) == {"models": ["tiny"]}
    assert json.loads(server.ask("GET", "/health").body)["status"] == "ok"
    described = json.loads(server.ask("GET", "/openapi.json").body)["paths"]["/enhance"]["post"]
    assert "audio/*" in described["requestBody"]["content"]
    assert {parameter["name"] for parameter in described["parameters"]} >= {"model", "purpose", "mix", "upper_band"}
    assert b"/openapi.json" in server.ask("GET", "/docs").body
    assert server.ask("GET", "/nothing").status == 404
    assert server.ask("GET", "/").error.startswith("there is no GET /: POST a recording to /enhance, or GET /models")
    assert server.ask("GET", "/enhance").status == 405
    assert server.ask("GET", "/enhance").error.startswith("there is no GET /enhance: POST a recording to /enhance")
    page = server.ask("GET", "/docs")  # its scripts may not come
    assert (page.status, b"swagger-ui" in page.body, b"which could not be loaded" in page.body) == (200, True, True)


def test_what_announces_too_much_is_refused_at_once(server: Server) -> None:
    for fields in ((), ("Expect: 100-continue",)):
        with server.connect("Content-Length: 1000000000000", *fields) as connection:
            answer = answer_on(connection)
            assert answer.status == 413
            assert answer.error == "the recording has more than 12 MB: no more are taken here"
            assert connection.recv(1) == b"", "the server ends the connection"
    server.wait_until_empty()


def test_what_streams_too_much_is_refused_without_reading_the_rest(server: Server) -> None:
    block, sent = b"100000\r\n" + bytes(1 << 20) + b"\r\n", 0
    with server.connect("Transfer-Encoding: chunked") as connection:
        connection.setblocking(False)
        rest = memoryview(block)
        while not select.select([connection], [], [], 0)[0]:
            select.select([connection], [connection], [], 60)
            with suppress(BlockingIOError):
                size = connection.send(rest)
                sent, rest = sent + size, rest[size:] or memoryview(block)
            assert sent < 100e6, "it would take everything"
        connection.setblocking(True)
        assert answer_on(connection).status == 413
    server.wait_until_empty()


def test_a_recording_that_is_too_long_is_one_line(narrow: Server, tmp_path: Path) -> None:
    audio.save(tmp_path / "a.flac", np.zeros(3601 * 4000, np.float32), 4000)
    answer = narrow.enhance((tmp_path / "a.flac").read_bytes())
    assert answer.status == 413
    assert answer.error == "the recording has 3601.0 s: at most 3600 s are taken here"
    audio.save(tmp_path / "b.wav", np.zeros((40, 100), np.float32), 48_000)
    assert "has 40 channels at 48000 Hz" in narrow.enhance((tmp_path / "b.wav").read_bytes()).error


def test_a_client_that_sends_or_reads_too_slowly_loses_its_place(server: Server, tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", np.zeros(5_000_000, np.float32), RATE)
    silence = (tmp_path / "a.wav").read_bytes()
    with server.connect("Content-Length: 1000") as sends, socket.socket() as reads:
        sends.sendall(bytes(100))
        reads.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that the system does not read for it
        reads.connect(server.address)
        reads.sendall(f"POST /enhance HTTP/1.1\r\nHost: here\r\nContent-Length: {len(silence)}\r\n\r\n".encode())
        reads.sendall(silence)
        answer = answer_on(sends)
        assert answer.status == 408
        assert answer.error == "the recording did not arrive within 4 s: send a smaller one"
        server.wait_until_empty()
        came = b"".join(iter(lambda: reads.recv(1 << 20), b""))
        assert b" 200 OK" in came[:20]
        assert len(came) < len(silence)
    assert "Traceback" not in server.log


def test_a_client_that_hangs_up_during_the_upload_leaves_nothing(server: Server) -> None:
    with server.connect("Content-Length: 100000") as connection:
        connection.sendall(bytes(50_000))
        wait_until(lambda: server.files("recording"))
    server.wait_until_empty()
    assert "Traceback" not in server.log


def test_a_client_that_hangs_up_during_the_work_stops_it(server: Server, hour: bytes) -> None:
    workers = server.workers()
    with server.connect(f"Content-Length: {len(hour)}") as connection:
        connection.sendall(hour)
        server.wait_until_working()
    server.wait_until_empty()
    assert server.workers() == workers, "between two chunks, and not by the death of the process"


def test_work_that_takes_too_long_is_stopped_and_nothing_waits_for_it(narrow: Server, hour: bytes) -> None:
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(narrow.enhance, hour)
        wait_until(lambda: narrow.recordings)
        with narrow.connect("Content-Length: 1000000", "Expect: 100-continue") as connection:
            refused = answer_on(connection)  # before any of its body is sent
        assert refused.status == 503
        assert refused.headers["retry-after"]
        assert answer.result().status == 504
        assert answer.result().error == "enhancing it takes longer than 5 s: send a shorter recording"
    narrow.wait_until_empty()


def test_a_worker_that_dies_is_one_error_and_is_replaced(narrow: Server, hour: bytes, tmp_path: Path) -> None:
    (worker,) = narrow.workers()
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(narrow.enhance, hour)
        wait_until(lambda: narrow.files("recording.flac"))  # the worker names it
        os.kill(worker, signal.SIGKILL)
        assert answer.result().status == 500
        assert answer.result().error == "the process that did the work died, perhaps for lack of memory"
    noisy = recording(tmp_path / "a.wav").read_bytes()
    for _ in range(2):
        narrow.wait_until_empty()
        assert narrow.enhance(noisy).status == 200
        (another,) = narrow.workers()
        assert another != worker
        worker = another
        os.kill(worker, signal.SIGKILL)  # while it has no work: no client hears of it
        wait_until(partial(is_gone, worker))


def test_memory_stays_as_it_is(server: Server, tmp_path: Path) -> None:
    """Silence, which passes by the network, takes no time."""
    audio.save(tmp_path / "a.wav", np.zeros(5_000_000, np.float32), RATE)
    silence = (tmp_path / "a.wav").read_bytes()

    def memory() -> np.ndarray:
        for _ in range(2):
            assert len(server.enhance(silence).body) == len(silence)
            assert server.enhance(silence[:-1]).status == 422
        return np.array([memory_mb(pid) for pid in (server.process.pid, *server.workers())])

    before = memory()
    assert (memory() - before < 20).all()


def test_the_end_stops_what_is_going_on(model: Path, hour: bytes, tmp_path: Path) -> None:
    server = Server(tmp_path, model)
    try:
        server.ready()
        with ThreadPoolExecutor(1) as thread, server.connect("Content-Length: 1000") as hanging:
            answer = thread.submit(server.enhance, hour)
            server.wait_until_working()
            server.end(signal.SIGTERM)
            assert answer.result().status == 503
            assert answer.result().error == "the service ends"
            assert answer_on(hanging).status == 503
    finally:
        server.kill()


def test_what_a_killed_one_leaves_goes_with_the_next_start(model: Path, hour: bytes, tmp_path: Path) -> None:
    killed = Server(tmp_path, model)
    try:
        killed.ready()
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(killed.enhance, hour)
            killed.wait_until_working()
            workers = killed.workers()
            killed.process.kill()
            killed.process.wait()  # until then the system knows it
            assert answer.exception() is not None
        wait_until(lambda: all(map(is_gone, workers)))
        assert killed.files("*")
        another = Server(tmp_path, model).ready()
        try:
            assert len(list(tmp_path.glob("temporary/phonemi-serve-*"))) == 1
            another.end(signal.SIGTERM)
        finally:
            another.kill()
    finally:
        killed.kill()


def test_what_keeps_it_from_starting_is_one_line(
    phonemi: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OTEL_SDK_DISABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # so that what is set here is taken back
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = phonemi("serve", "--port", port)
    assert (outcome.code, list(tmp_path.iterdir())) == (2, [])
    assert outcome.error.startswith(f"cannot listen on port {port} of 127.0.0.1 (")
    outcome = phonemi("serve", "--port", 0, "--model", tmp_path / "none")
    assert (outcome.code, list(tmp_path.iterdir())) == (1, [])
    assert "no enhancer" in outcome.error
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install 'phonemi[serve]'" in phonemi("serve").error


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_the_lines_of_the_guide_work(server: Server, tmp_path: Path) -> None:
    lines = [line for line in GUIDE.read_text(encoding="utf-8").splitlines() if line.startswith("curl ")]
    assert len(lines) >= 3
    recording(tmp_path / "noisy.wav")
    for line in lines:
        words = shlex.split(line.replace("http://127.0.0.1:8000", "http://{}:{}".format(*server.address)))
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    assert audio.probe(tmp_path / "clean.wav").samples == audio.probe(tmp_path / "noisy.wav").samples
