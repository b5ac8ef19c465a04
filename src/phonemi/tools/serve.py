"""The HTTP service of `phonemi serve`: recordings come in as bodies of requests, and go back enhanced.

The process that listens reads no sound: each recording is read, enhanced and written by one of a few other processes,
in a folder of its own that is gone when the answer is sent.
"""

# FastAPI needs the types of its functions as they are here, not as texts: so no `from __future__ import annotations`.

import asyncio
import json
import logging
import os
import re
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import phonemi
from phonemi import audio
from phonemi.enhancers.names import name_systems
from phonemi.enhancers.options import EnhanceOptions, Purpose, UpperBand
from phonemi.errors import AudioError, ConfigError, PhonemiError, nearest, require_extra
from phonemi.files import temporary_folder
from phonemi.inference.streams import extension_of
from phonemi.progress import Progress, Task
from phonemi.tables import plural
from phonemi.workers import Worker, WorkerDied

if TYPE_CHECKING:
    from phonemi.enhancers.enhancer import Enhancer

MAX_VALUES_PER_S = 768_000  # of all channels together: 16 at 48 kHz. The memory of a worker grows with it.
RETRY_AFTER_S = 5
STOP_S = 10.0  # a job that is to stop ends between two chunks, or by the death of its process after this time
END_S = 5  # what is going on when the service ends is given this time
LINGER_S, LINGER_BYTES = 1.0, 1 << 20  # see `_guard`
BLOCK_BYTES = 1 << 16
UPLOAD, STOP = "recording", "stop"  # files in the folder of a job
MEDIA_TYPES = {
    **{".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".aiff": "audio/aiff", ".au": "audio/basic"},
    **dict.fromkeys((".ogg", ".oga", ".opus"), "audio/ogg"),
}

logger = logging.getLogger("uvicorn.error")


@dataclass(frozen=True)
class Limits:
    """What one client can ask for, and all of them together.

    Attributes:
        workers: processes that enhance, with one thread each.
        queue: recordings that may wait for them, or be on the way here or back.
        max_mb: size of a recording, in millions of bytes.
        max_s: length of a recording, in seconds.
        transfer_s: time for the way of a recording here, and for the way back, each in seconds.
        time_limit_s: time for enhancing one, in seconds.
    """

    workers: int = 1
    queue: int = 8
    max_mb: float = 100.0
    max_s: float = 3600.0
    transfer_s: float = 60.0
    time_limit_s: float = 600.0


class Refused(PhonemiError):
    """A request that is answered by a status of HTTP and a line: `Refused(413, "it is too long")`."""

    @property
    def status(self) -> int:
        return int(self.args[0])

    def __str__(self) -> str:
        return str(self.args[1])


def run(models: Sequence[str], host: str, port: int, limits: Limits, say: Callable[[str], Any] = print) -> None:
    """Serve until Ctrl-C or SIGTERM, and `say` the address once clients can connect.

    The models are names, folders or hub ids, also NAME=MODEL; clients who ask for none get the first. Port 0 is any
    that is free.

    Raises:
        MissingExtra: if fastapi or uvicorn is not installed.
        ConfigError: if it cannot listen there, or two models have the same name.
        ModelError: if a model cannot be loaded.
    """
    # Set before fastapi is imported: it then reports nothing to anybody, whatever else is set.
    os.environ |= {"OTEL_SDK_DISABLED": "true", "HF_HUB_DISABLE_TELEMETRY": "1"}
    require_extra("fastapi", "serve")
    uvicorn = require_extra("uvicorn", "serve")
    named = name_systems(models or ["default"])
    with ExitStack() as stack:
        listener = stack.enter_context(_bind(host, port))
        folder = stack.enter_context(temporary_folder("serve"))
        service = Service(named, folder, limits)
        stack.callback(service.close)
        service.start()
        config = uvicorn.Config(
            _guard(build(service), limits.transfer_s), loop="asyncio", http="h11", ws="none", lifespan="off",
            access_log=False, log_level="warning", server_header=False, timeout_graceful_shutdown=END_S,
        )  # fmt: skip
        server = uvicorn.Server(config)
        listener.listen(config.backlog)
        host, port = listener.getsockname()[:2]
        # In a thread, because uvicorn handles fewer signals than this package does.
        with ThreadPoolExecutor(1) as thread:
            try:
                serving = thread.submit(server.run, [listener])
                say(f"http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it)")
                serving.result()
            except KeyboardInterrupt:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends soon, and a second one could leave files
                service.ending = server.should_exit = True  # the thread ends then, and with it the block


def _bind(host: str, port: int) -> socket.socket:
    """A socket that will listen; ConfigError if the address is not to be had."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may still be closing
        listener.bind(address)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot listen on port {port} of {host} ({reason}): choose another by --port") from None
    return listener


class Service:
    """The processes that enhance, and the recordings that are on their way.

    Attributes:
        names: of the models, the default first.
        recordings: how many are here: coming, waiting, being enhanced or going back.
        ending: no process is replaced any more.
    """

    def __init__(self, models: dict[str, str], folder: Path, limits: Limits) -> None:
        self.names, self.limits = list(models), limits
        self.recordings = 0
        self.ending = False
        self._models, self._folder = models, folder
        self._workers: set[Worker] = set()
        self._threads = ThreadPoolExecutor(limits.workers, "worker")  # each waits for the answer of a process
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        self._replacing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the processes, and wait until each has its models."""
        self._workers = {Worker() for _ in range(self.limits.workers)}
        for _ in self._threads.map(lambda worker: worker.call(load_models, self._models), self._workers):
            pass
        for worker in self._workers:
            self._idle.put_nowait(worker)

    def close(self) -> None:
        """End the processes, whatever they do."""
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown()

    @contextmanager
    def admit(self) -> Iterator[Path]:
        """Give a recording a place, and a folder for its files; both are free again when the block ends."""
        limits = self.limits
        if self.recordings >= limits.workers + limits.queue:
            raise Refused(503, f"{plural(self.recordings, 'recording')} are here already: try again later")
        self.recordings += 1
        try:
            with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as folder:
                yield Path(folder)
        finally:
            self.recordings -= 1

    async def enhance(self, model: str, folder: Path, options: dict[str, Any]) -> tuple[Path, list[str]]:
        """Enhance the upload in a folder; returns the result and what was noticed.

        Cancelling it stops the work before it ends, and so does the time limit.
        """
        limits = self.limits
        while not (worker := await self._idle.get()).is_alive():
            self._replace(worker)
        call = asyncio.get_running_loop().run_in_executor(
            self._threads, worker.call, enhance_upload, model, folder, options, limits.max_s
        )
        try:
            async with asyncio.timeout(limits.time_limit_s):
                return await asyncio.shield(call)
        except (TimeoutError, asyncio.CancelledError) as stop:
            with suppress(FileNotFoundError):
                (folder / STOP).touch()
            await asyncio.wait([call], timeout=0 if self.ending else STOP_S)
            if isinstance(stop, TimeoutError):
                text = f"enhancing it takes longer than {limits.time_limit_s:g} s: send a shorter recording"
                raise Refused(504, text) from None
            raise
        finally:
            call.add_done_callback(asyncio.Future.exception)  # so that it counts as seen
            if call.done() and not isinstance(call.exception(), WorkerDied):
                self._idle.put_nowait(worker)
            else:
                self._replace(worker)

    def _replace(self, worker: Worker) -> None:
        """Start another process instead of one that died or does not stop."""
        worker.kill()
        self._workers.discard(worker)
        if not self.ending:
            task = asyncio.get_running_loop().create_task(self._start_another())
            self._replacing.add(task)
            task.add_done_callback(self._replacing.discard)

    async def _start_another(self) -> None:
        worker = Worker()
        self._workers.add(worker)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, worker.call, load_models, self._models)
        except Exception as error:  # whatever it is, memory may be back later
            logger.error("a process cannot be replaced (%s): trying again in %d s", error, RETRY_AFTER_S)
            await asyncio.sleep(RETRY_AFTER_S)
            self._replace(worker)
        else:
            self._idle.put_nowait(worker)


_enhancers: dict[str, "Enhancer"] = {}  # by name, in a process that enhances


def load_models(models: dict[str, str]) -> None:
    """Make this process one that enhances."""
    import torch

    from phonemi.enhancers.enhancer import Enhancer

    torch.set_num_threads(1)
    for name, source in models.items():
        _enhancers[name] = Enhancer.from_pretrained(source)


def enhance_upload(model: str, folder: Path, options: dict[str, Any], max_s: float) -> tuple[Path, list[str]]:
    """Enhance the upload in a folder by a model that is loaded; returns the file and what was noticed."""
    upload = folder / UPLOAD
    with _without_paths(folder):
        info = audio.probe(upload)
    if info.duration_s > max_s:
        raise Refused(413, f"the recording has {info.duration_s:.1f} s: at most {max_s:g} s are taken here")
    if info.channels * info.sample_rate > MAX_VALUES_PER_S:
        form = f"{plural(info.channels, 'channel')} at {info.sample_rate} Hz"
        raise Refused(413, f"the recording has {form}: at most {MAX_VALUES_PER_S} samples a second are taken here")
    with _without_paths(folder):
        source = upload.rename(upload.with_suffix(extension_of(info)))
        target = folder / f"enhanced{audio.output_suffix(source)}"
        return target, _enhancers[model].enhance_file(source, target, progress=Stoppable(folder / STOP), **options)


@contextmanager
def _without_paths(folder: Path) -> Iterator[None]:
    """Let errors say "the recording" instead of the path of a file in a folder."""
    try:
        yield
    except PhonemiError as error:
        text = re.sub(re.escape(f"{folder}{os.sep}") + r"\w+(\.\w+)?", "the recording", str(error))
        raise type(error)(text) from None


class Stopped(PhonemiError):
    """The client or the time is gone."""


class Stoppable(Progress):
    """Raises Stopped as soon as a file is there, between two chunks."""

    def __init__(self, file: Path) -> None:
        super().__init__(enabled=False)
        self._stop = file

    @contextmanager
    def task(self, label: str, total: int | None = None, completed: int = 0) -> Iterator[Task]:
        yield Task(total, completed, lambda task: self._check())

    def _check(self) -> None:
        if self._stop.exists():
            raise Stopped("stopped")


def build(service: Service) -> Any:
    """The application: a `fastapi.FastAPI` whose scopes `_guard` prepares."""
    from fastapi import FastAPI, Query, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.openapi.docs import get_swagger_ui_html
    from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
    from starlette.exceptions import HTTPException

    limits = service.limits
    app = FastAPI(
        title="phonemi", version=phonemi.__version__, docs_url=None, redoc_url=None,
        description="Speech enhancement that keeps the words.",
    )  # fmt: skip

    def refuse(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": " ".join(text.split())}, status, headers)

    async def explain(_: Request, error: Exception) -> JSONResponse:
        if isinstance(error, Refused):
            headers = {"Retry-After": str(RETRY_AFTER_S)} if error.status == 503 else None
            return refuse(error.status, str(error), headers)
        return refuse(422 if isinstance(error, AudioError | ConfigError) else 500, str(error))

    async def explain_option(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return refuse(422, f"{first['loc'][-1]} is {first.get('input')!r}: {first['msg']}")

    async def explain_status(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        text = str(error.detail)
        if error.status_code in (404, 405):
            addresses = "POST a recording to /enhance, or GET /models, /health, /docs or /openapi.json"
            text = f"there is no {request.method} {request.url.path}: {addresses}"
        return refuse(error.status_code, text, dict(error.headers or {}))

    async def explain_nothing(_: Request, error: Exception) -> JSONResponse:  # uvicorn writes its traceback to the log
        return refuse(500, "an error of the server: its log says which")

    app.add_exception_handler(PhonemiError, explain)
    app.add_exception_handler(RequestValidationError, explain_option)
    app.add_exception_handler(HTTPException, explain_status)
    app.add_exception_handler(Exception, explain_nothing)

    async def docs() -> HTMLResponse:
        page = bytes(get_swagger_ui_html(openapi_url="/openapi.json", title="phonemi").body)
        place = b'<div id="swagger-ui">'  # whose content the script replaces
        excuse = b'This page needs scripts from the internet, which could not be loaded. <a href="/openapi.json">'
        return HTMLResponse(page.replace(place, place + excuse + b"/openapi.json</a> says the same."))

    async def health() -> dict[str, Any]:
        """Whether the service answers, and how many recordings it has."""
        return {"status": "ok", "version": phonemi.__version__, "recordings": service.recordings}

    async def models() -> dict[str, list[str]]:
        """The models that can be asked for, the default first."""
        return {"models": service.names}

    async def enhance(
        request: Request,
        model: Annotated[str, Query(description="One of /models.")] = service.names[0],
        purpose: Annotated[str, Query(description=" or ".join(get_args(Purpose)))] = "listening",
        mix: Annotated[float, Query(description="Share of the enhanced sound, 0 to 1.")] = 1.0,
        attenuation_limit_db: Annotated[
            float | None, Query(description="The most taken off any frequency, in dB; left out: as the model has it.")
        ] = None,
        upper_band: Annotated[str, Query(description=f"Above 8 kHz: {', '.join(get_args(UpperBand))}.")] = "attenuate",
    ) -> Response:
        """Enhance the recording that is the body; its format, sample rate, channels and length come back."""
        options: dict[str, Any] = {"purpose": purpose, "mix": mix, "upper_band": upper_band}
        options |= {"attenuation_limit_db": attenuation_limit_db}
        EnhanceOptions(**options)
        for name in request.query_params.keys() - options.keys() - {"model"}:
            raise ConfigError(f"there is no option {name!r}: {nearest(name, [*options, 'model'])}")
        if model not in service.names:
            raise ConfigError(f"no model {model!r} is served: {nearest(model, service.names)}")
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise Refused(415, "a form came: the body must be the recording itself (curl --data-binary @noisy.wav)")
        resources: ExitStack = request.scope[RESOURCES]
        folder = resources.enter_context(service.admit())
        if not await receive(request, folder / UPLOAD):
            return Response()  # nobody will read it
        gone = asyncio.create_task(hang_up(request))
        work = asyncio.create_task(service.enhance(model, folder, options))
        resources.callback(gone.cancel)
        resources.callback(work.cancel)
        await asyncio.wait([gone, work], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await asyncio.wait([work])  # before that, the process may write into the folder
            return Response()
        target, notes = work.result()
        response = StreamingResponse(
            blocks(target),
            media_type=MEDIA_TYPES.get(target.suffix, "application/octet-stream"),
            headers={
                "Content-Length": str(target.stat().st_size),
                "Content-Disposition": f'attachment; filename="{target.name}"',
            },
        )
        for note in notes:
            response.headers.append("Phonemi-Note", note)
        return response

    async def receive(request: Request, path: Path) -> bool:
        """Write the body to a file; False if the client hung up before the end."""
        max_bytes = 1e6 * limits.max_mb
        too_large = Refused(413, f"the recording has more than {limits.max_mb:g} MB: no more are taken here")
        if int(request.headers.get("content-length", 0)) > max_bytes:
            raise too_large
        try:
            async with asyncio.timeout(limits.transfer_s):
                with open(path, "wb") as file:
                    size = 0
                    while (message := await request.receive())["type"] == "http.request":
                        block = message.get("body", b"")
                        if (size := size + len(block)) > max_bytes:
                            raise too_large
                        await asyncio.to_thread(file.write, block)
                        if not message.get("more_body"):
                            return True
                    return False
        except TimeoutError:
            text = f"the recording did not arrive within {limits.transfer_s:g} s: send a smaller one"
            raise Refused(408, text) from None
        except OSError as error:
            raise Refused(507, f"the recording cannot be kept here: {error.strerror or error}") from None

    async def hang_up(request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    recording = {"audio/*": {"schema": {"type": "string", "format": "binary"}}}
    failure = {"application/json": {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}}}
    meanings = {
        408: "the upload is too slow",
        413: "too large or too long",
        415: "a form instead of a recording",
        422: "no recording that can be read, or a wrong option",
        500: "the work failed",
        503: "too many recordings are here: try again later",
        504: "the work takes too long",
        507: "no space for the upload",
    }
    app.add_api_route(
        "/enhance", enhance, methods=["POST"], response_class=Response,
        openapi_extra={"requestBody": {"required": True, "content": recording}},
        responses={
            200: {
                "content": recording,
                "description": "the enhanced recording",
                "headers": {"Phonemi-Note": {"description": "what was noticed", "schema": {"type": "string"}}},
            },
            **{status: {"description": meaning, "content": failure} for status, meaning in meanings.items()},
        },
    )  # fmt: skip
    app.add_api_route("/health", health)
    app.add_api_route("/models", models)
    app.add_api_route("/docs", docs, include_in_schema=False)
    return app


async def blocks(path: Path) -> AsyncIterator[bytes]:
    """The content of a file."""
    with open(path, "rb") as file:
        while block := await asyncio.to_thread(file.read, BLOCK_BYTES):
            yield block


RESOURCES = "phonemi.resources"  # in the scope of a request: an `ExitStack` that ends after the answer


def _guard(app: Any, transfer_s: float) -> Any:
    """An ASGI application around another that ends connections of clients who send or read badly.

    An answer that comes before all of the body was read is followed by the end of the connection, without reading the
    rest. But a client that hears of the end while it is sending may miss the answer, so the connection lingers for a
    moment, in which a small rest is thrown away. An answer has to be taken within `transfer_s` seconds.
    """

    async def guarded(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        headers = dict(scope["headers"])
        is_unread = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        loop = asyncio.get_running_loop()
        end_s: float | None = None  # of the answer; None before it has begun

        async def receive_and_note() -> Any:
            nonlocal is_unread
            message = await receive()
            is_unread &= bool(message.get("more_body"))
            return message

        async def linger() -> None:
            size = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while is_unread and size < LINGER_BYTES:
                        size += len((await receive_and_note()).get("body", b""))
                    if is_unread:
                        await asyncio.sleep(LINGER_S)

        async def answer(message: Any) -> None:
            nonlocal end_s
            if message["type"] == "http.response.start":
                end_s = loop.time() + transfer_s
                if is_unread:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            async with asyncio.timeout_at(end_s):
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    resources.close()  # before the client knows that its turn is over
                    if is_unread:
                        await send(message | {"more_body": True})
                        await linger()
                        message = {"type": "http.response.body"}
                await send(message)

        with ExitStack() as resources:
            try:
                await app(scope | {RESOURCES: resources}, receive_and_note, answer)
            except TimeoutError:
                pass  # uvicorn closes a connection whose answer is not complete
            except asyncio.CancelledError:  # the service ends
                if end_s is None:
                    body = json.dumps({"error": "the service ends"}).encode()
                    fields = [(b"content-type", b"application/json"), (b"connection", b"close")]
                    await send({"type": "http.response.start", "status": 503, "headers": fields})
                    await send({"type": "http.response.body", "body": body})

    return guarded
