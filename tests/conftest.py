"""A tiny corpus, tiny settings and a run that went through every stage, made once for all tests that need them."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Listener
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from tiny_whisper import make_whisper

from phonemi import audio
from phonemi.data.manifest import Interval, Recording, write_manifest

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from phonemi.representations.base import HiddenStates

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does
settings.register_profile("short", max_examples=10, deadline=None)  # make quick
settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)  # pytest --hypothesis-profile=thorough -k ...
settings.load_profile("quick")

REPOSITORY = Path(__file__).parents[1]
sys.path.append(str(REPOSITORY / "tests"))  # for `worker_functions`, which other processes import too
RATE = 16_000
SPEAKERS = {"101": 95, "102": 120, "103": 150, "104": 180, "105": 210, "106": 240}  # name: pitch in Hz
FORMANTS_HZ = {"IY": (280, 2250), "UW": (310, 870), "AA": (710, 1100), "M": (250, 1000)}
HISSES_HZ = {"S": 6000, "SH": 3000}
WORDS = {"see": "S IY", "me": "M IY", "she": "SH IY", "shoe": "SH UW", "sue": "S UW", "ma": "M AA"}

# As small as every part of a configuration can be while all of it still happens.
TINY = (
    "data.test_share=0.34", "data.validation_share=0.17", "data.keep_in_training=[]",
    "encoder.mels=20", "encoder.dim=16", "encoder.blocks=2", "encoder.heads=2", "encoder.feedforward=32",
    "encoder.position_kernel=5", "encoder.batch=4", "encoder.crop_frames=16", "encoder.precision=no",
    "encoder.rounds=[{units: mel, clusters: 8, steps: 12}, {units: encoder, layer: 1, clusters: 8, steps: 12}]",
    "information.snrs_db=[0, 10]", "information.copies=1", "information.train_utterances=6",
    "information.hidden=8", "information.epochs=2", "information.batch_frames=128", "information.precision=no",
    "aggregate.steps=20", "aggregate.batch_frames=64",
    "enhance.hidden=8", "enhance.layers=1", "enhance.steps=120", "enhance.batch=2", "enhance.crop_s=0.5",
    "enhance.snrs_db=[5]", "enhance.train_mixtures=6", "enhance.validation_mixtures=1", "enhance.validate_every=30",
    "enhance.precision=no", "enhance.select_on=si_sdri_db", "enhance.jobs=1",
    "evaluate.snrs_db=[5, 15]", "evaluate.per_utterance=1", "evaluate.examples=1",
    "evaluate.recogniser=pocketsphinx-grammar",
)  # fmt: skip


def pytest_configure() -> None:
    """Let Ctrl-C interrupt, as tests of it expect: a shell that starts pytest with `&` leaves the signal ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the finished run as slow, and begin with what is slow: no process is left with it at the end."""
    for item in items:
        if "finished" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Six sentences of three synthetic speakers, [sample] each: for models that have learned from speech."""
    pytest.importorskip("espeakng_loader", reason="espeakng_loader is not installed: pip install 'phonemi[synth]'")
    from phonemi.data.corpora.synthetic import synthesise
    from phonemi.data.manifest import read_manifest

    speech, _ = synthesise(tmp_path_factory.mktemp("sentences"), utterances=6, speakers=3)
    return [audio.load(recording.path) for recording in read_manifest(speech)]


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Give a folder by name, filled by the first process of pytest-xdist that asks; the others wait for it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def fill_once(name: str, fill: Callable[[Path], None]) -> Path:
        folder, complete = root / name, root / f"{name}.complete"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)  # another process failed half-way
                folder.mkdir()
                fill(folder)
                complete.touch()
        return folder

    return fill_once


@dataclass(frozen=True)
class Corpus:
    """Where the tiny corpus is: `data` as `runs/real.sh` expects it, and its manifests."""

    data: Path

    @property
    def speech(self) -> Path:
        return self.data / "speech.jsonl"

    @property
    def noise(self) -> Path:
        return self.data / "noise.jsonl"

    @property
    def settings(self) -> tuple[str, ...]:
        """`TINY` and the manifests, for `load_config`."""
        return (f"data.speech=[{self.speech}]", f"data.noise=[{self.noise}]", *TINY)


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it said."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line that says why the work failed."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("phonemi: ")]
        assert self.code in (1, 2), self
        assert len(lines) == 1, self
        assert "Traceback" not in self.stderr, self
        assert "unexpected" not in lines[0], self
        return lines[0].removeprefix("phonemi: ")


@pytest.fixture(scope="session", autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """The tests say the same however they are started: with `&` or nohup, without a terminal, in a narrow one."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets `&` ignore Ctrl-C
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.setenv("TERM", "xterm")
        for name in ("FORCE_COLOR", "NO_COLOR", "PHONEMI_DEBUG", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
            patch.delenv(name, raising=False)
        yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture(scope="session")
def corpus(shared_folder: Callable[..., Path]) -> Corpus:
    """Six speakers with two utterances each, with text and exact phones, and a noise in each of five folds."""
    return Corpus(shared_folder("data", write_corpus))


def write_corpus(data: Path) -> None:
    """Fill a folder with the files of `Corpus`."""
    rng = np.random.default_rng(0)
    speech, alignments, table = [], [], ["path,speaker,text"]
    for speaker, pitch_hz in SPEAKERS.items():
        folder = data / "librispeech" / "LibriSpeech" / "dev-clean" / speaker / "1"
        transcripts = []
        for number in range(2):
            words = list(rng.choice(list(WORDS), 3))
            waveform, phones = speak(" SIL ".join(WORDS[word] for word in words).split(), pitch_hz, rng)
            name, text = f"{speaker}-1-{number:04d}", " ".join(words)
            path = folder / f"{name}.flac"
            audio.save(path, waveform, RATE)
            transcripts.append(f"{name} {text.upper()}\n")
            alignments += [f"{name} 1 {start:.3f} {end - start:.3f} {phone}\n" for start, end, phone in phones]
            table.append(f"{path.relative_to(data)},ls-{speaker},{text}")
            speech.append(
                Recording(
                    id=name,
                    path=str(path),
                    sample_rate=RATE,
                    samples=len(waveform),
                    speaker=f"ls-{speaker}",
                    text=text,
                    phones=tuple(phones),
                )
            )
        (folder / f"{speaker}-1.trans.txt").write_text("".join(transcripts))
    more = data / "more" / "201.flac"
    waveform, _ = speak(["S", "IY", "SIL", "M", "IY"], 170, rng)
    audio.save(more, waveform, RATE)
    table.append("more/201.flac,201,see me")
    for folder, lines in (("librispeech", alignments), ("more", [])):
        (data / folder / "alignments").mkdir()
        (data / folder / "alignments" / "phones.ctm").write_text("".join(lines))
    (data / "speech.csv").write_text("\n".join(table) + "\n")

    noise = []
    for fold in range(1, 6):
        name = f"{fold}-{fold}-A-0"
        path = data / "esc10" / "audio" / f"{name}.flac"
        audio.save(path, 0.1 * np.cumsum(rng.normal(size=RATE)) / 60 + 0.02 * rng.normal(size=RATE), RATE)
        noise.append(Recording(id=name, path=str(path), sample_rate=RATE, samples=RATE, fold=fold))
    write_manifest(data / "speech.jsonl", speech)
    write_manifest(data / "noise.jsonl", noise)


def speak(phones: list[str], pitch_hz: float, rng: np.random.Generator) -> tuple[np.ndarray, list[Interval]]:
    """Formant-like sounds between two silences: float32 [sample] and where each phone is."""
    pieces, intervals, end_s = [], [], 0.0
    for phone in ["SIL", *phones, "SIL"]:
        samples = int(rng.integers(8, 14)) * RATE // 100
        time_s = np.arange(samples) / RATE
        piece = 1e-3 * rng.normal(size=samples)
        for formant_hz in FORMANTS_HZ.get(phone, ()):
            for harmonic_hz in pitch_hz * np.arange(1, int(4000 / pitch_hz)):
                gain = 0.1 / (1 + ((harmonic_hz - formant_hz) / 100) ** 2)
                piece += gain * np.sin(2 * np.pi * harmonic_hz * time_s)
        if phone in HISSES_HZ:
            piece += 0.1 * rng.normal(size=samples) * np.sin(2 * np.pi * HISSES_HZ[phone] * time_s)
        pieces.append(piece)
        start_s, end_s = end_s, end_s + samples / RATE
        intervals.append(Interval(round(start_s, 3), round(end_s, 3), phone))
    return np.concatenate(pieces).astype(np.float32), intervals


@pytest.fixture(scope="session")
def phonemi() -> Callable[..., Outcome]:
    """The command line, called in this process."""

    def call(*arguments: object) -> Outcome:
        from phonemi import cli

        stdout, stderr = io.StringIO(), io.StringIO()
        before, sys.argv = sys.argv, ["phonemi", *map(str, arguments)]
        try:
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                cli.main()
            code: int | str | None = 0
        except SystemExit as end:
            code = end.code
        finally:
            sys.argv = before
        return Outcome(code if isinstance(code, int) else int(code is not None), stdout.getvalue(), stderr.getvalue())

    return call


# Starting Python with torch for each of the nine commands would take longer than all of their work here. So the script
# gets a `phonemi` that hands its arguments to the process of the tests.
STAND_IN = """#!{python} -IS
import os, sys
from multiprocessing.connection import Client

if "-" in sys.argv:  # streams
    os.execv(sys.executable, [sys.executable, "-m", "phonemi.cli", *sys.argv[1:]])
with Client({address!r}, "AF_UNIX") as connection:
    connection.send(sys.argv[1:])
    code, stdout, stderr = connection.recv()
sys.stdout.write(stdout)
sys.stderr.write(stderr)
sys.exit(code)
"""


@pytest.fixture(scope="session")
def bash(phonemi: Callable[..., Outcome]) -> Iterator[Callable[..., Outcome]]:
    """bash with given arguments, where `phonemi` and `$PHONEMI` are this package; `settings` follow what is named."""
    with tempfile.TemporaryDirectory(prefix="phonemi") as folder:
        address, stand_in = f"{folder}/socket", Path(folder) / "phonemi"
        stand_in.write_text(STAND_IN.format(python=sys.executable, address=address))
        stand_in.chmod(0o755)
        environment = os.environ | {"PHONEMI": str(stand_in), "PATH": f"{folder}:{os.environ['PATH']}"}

        def call(*arguments: object, settings: dict[str, list[str]] | None = None) -> Outcome:
            with Listener(address, "AF_UNIX") as listener:
                command = ["bash", *map(str, arguments)]
                script = subprocess.Popen(
                    command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
                listener._listener._socket.settimeout(0.05)  # type: ignore[attr-defined]
                while script.poll() is None:
                    with contextlib.suppress(TimeoutError), listener.accept() as connection:
                        words = connection.recv()
                        outcome = phonemi(*words, *(settings or {}).get(words[0], []))
                        connection.send((outcome.code, outcome.stdout, outcome.stderr))
                stdout, stderr = script.communicate()
            return Outcome(script.returncode, stdout, stderr)

        yield call


@pytest.fixture(scope="session")
def real_sh(bash: Callable[..., Outcome], corpus: Corpus, tiny: list[str]) -> Callable[[Path], Outcome]:
    """`runs/real.sh` on the tiny corpus with tiny settings, into a given folder."""
    return lambda folder: bash(REPOSITORY / "runs" / "real.sh", corpus.data, folder, *tiny)


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """`TINY` as arguments of a command."""
    return [word for setting in TINY for word in ("--set", setting)]


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save every figure empty: drawing is half of the work of a tiny run, and this test looks at no figure."""
    save_figures_blank(monkeypatch)


def save_figures_blank(patch: pytest.MonkeyPatch) -> None:
    """What `blank_figures` does, until the patch is undone."""

    def save_blank(self: Figure, file: Any, **settings: Any) -> None:
        blank = '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
        if hasattr(file, "write"):
            file.write(blank)
        else:
            Path(file).write_text(blank)

    patch.setattr("matplotlib.figure.Figure.savefig", save_blank)


@pytest.fixture(scope="session")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper with at most 22 tokens for 30 s, see `make_whisper`."""
    return make_whisper(tmp_path_factory.mktemp("whisper") / "wee-whisper", context=44)


@dataclass(frozen=True)
class Finished:
    """A run after every stage, which no test writes into: others read it meanwhile. Who goes on with it copies it.

    Attributes:
        folder: the run.
        encoded: what the encoder was given on the way: (command, hash of the waveform), each time.
        said: what the commands printed on the way.
        contents: hash of every result file before the script was run again in the same folder.
        again: the outcome of running it again.
    """

    folder: Path
    encoded: list[list[str]]
    said: str
    contents: dict[str, str]
    again: Outcome


@pytest.fixture(scope="session")
def finished(shared_folder: Callable[..., Path], real_sh: Callable[[Path], Outcome]) -> Finished:
    """A run folder after every stage, made by `runs/real.sh`."""
    folder = shared_folder("finished", lambda folder: run_every_stage(folder, real_sh))
    notes = json.loads((folder / "notes.json").read_text())
    return Finished(folder / "run folder", notes["encoded"], notes["said"], notes["contents"], Outcome(*notes["again"]))


def run_every_stage(folder: Path, real_sh: Callable[[Path], Outcome]) -> None:
    """Make `folder/run folder` and `folder/notes.json`, which `Finished` gives."""
    from phonemi.representations.mel_transformer import MelTransformer

    encoded: list[tuple[str, str]] = []
    forward = MelTransformer.forward

    def note_and_encode(self: MelTransformer, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        for row, waveform in enumerate(waveforms):
            valid = waveform if lengths is None else waveform[: lengths[row]]
            encoded.append((sys.argv[1], hashlib.sha256(valid.numpy().tobytes()).hexdigest()))
        return forward(self, waveforms, lengths)

    run = folder / "run folder"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MelTransformer, "forward", note_and_encode)
        save_figures_blank(patch)  # the second time they are drawn
        outcome = real_sh(run)
    assert outcome.code == 0, outcome.stderr
    contents, again = hash_results(run), real_sh(run)
    said = outcome.stdout + outcome.stderr
    notes = {"encoded": encoded, "said": said, "contents": contents, "again": dataclasses.astuple(again)}
    (folder / "notes.json").write_text(json.dumps(notes))


def hash_results(folder: Path) -> dict[str, str]:
    """Hash of every file that holds a result."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "figures" not in path.parts and path.name != "report.html"
    }
