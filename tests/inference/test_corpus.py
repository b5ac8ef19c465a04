"""phonemi.inference.corpus and on_ray: whoever does the work, and whoever is killed at it, all is there once."""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phonemi import audio
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.inference.corpus import enhance_corpus, plan_tasks
from phonemi.inference.plan import plan
from phonemi.inference.record import RECORD_FILE

RECORDINGS, KILLS = 300, 10


def test_tasks_keep_the_order_and_a_shard_is_alone() -> None:
    names = ["1.wav", "2.wav", "3.wav", "x.tar", "y.tar", "4.wav", "s3://a/5.wav", "s3://a/6.tar"]
    pairs = [
        (name if "//" in name else Path(name), f"s3://b/{name[5:]}" if "//" in name else Path("out", name))
        for name in names
    ]
    tasks = [[str(source) for source, _ in task.pairs] for task in plan_tasks(pairs, 2)]
    assert tasks == [["1.wav", "2.wav"], ["3.wav"], ["x.tar"], ["y.tar"], ["4.wav"], ["s3://a/5.wav"], ["s3://a/6.tar"]]


def test_what_comes_out_does_not_depend_on_the_size_of_tasks(
    tmp_path: Path, encoder_enhancer: Enhancer, written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        written(tmp_path / "in" / f"{number}.wav", 5000 + number)
    written(tmp_path / "in" / "3.flac")  # both would be 3.flac
    (tmp_path / "in" / "2.wav").write_text("not sound")
    outcomes = {}
    for files in (1000, 2):
        monkeypatch.setattr("phonemi.inference.corpus.FILES_A_TASK", files)
        pairs = plan([tmp_path / "in"], tmp_path / str(files), extension="flac")
        outcomes[files] = list(enhance_corpus(encoder_enhancer, pairs))
        assert [outcome.state for outcome in outcomes[files]] == ["done", "done", "failed", "failed", "failed", "done"]
    sources = [[outcome.source for outcome in found] for found in outcomes.values()]
    assert sources[0] == sources[1] == [source for source, _ in pairs]
    for path in (tmp_path / "1000").glob("*.flac"):
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()


# Many recordings: `make scale` --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, 300 recordings of which one is broken, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("corpus")
    torch.manual_seed(0)
    model = Enhancer(None, None, MaskEnhancer(0, True, hidden=1, layers=1, level_db=-20.0), "tiny")
    model.save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    for number in range(RECORDINGS):
        waveform = 0.1 * rng.normal(size=8000 + 10 * number)
        audio.save(folder / "in" / str(number % 7) / f"{number:03d}.wav", waveform, 16_000)
    (folder / "in" / "3" / "150.wav").unlink()
    (folder / "in" / "3" / "broken.wav").write_text("not sound")
    process = start(folder, folder / "one")
    assert process.wait() == 1
    assert count(folder / "one") == RECORDINGS - 1
    return folder


def start(corpus: Path, output: Path, *options: Any) -> subprocess.Popen[str]:
    arguments = ["enhance", corpus / "in", "-o", output, "--model", corpus / "model", *options]
    return subprocess.Popen(
        [sys.executable, "-m", "phonemi.cli", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def count(folder: Path) -> int:
    return sum(1 for path in folder.rglob("[!.]*.wav"))


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline_s = time.monotonic() + 600
    while not (value := condition()):
        assert time.monotonic() < deadline_s, "nothing happens any more"
        time.sleep(0.01)
    return value


def wait_for_files(folder: Path, files: int) -> None:
    wait_for(lambda: count(folder) >= files)


def assert_complete(corpus: Path, output: Path, *options: Any) -> None:
    """The files are those of one process, to the bit, nothing else is there, and another run has nothing to do."""
    names = {path.relative_to(corpus / "one") for path in (corpus / "one").rglob("*.wav")}
    assert {
        path.relative_to(output) for path in output.rglob("*") if path.is_file() and path.suffix != ".jsonl"
    } == names
    for name in names:
        assert (output / name).read_bytes() == (corpus / "one" / name).read_bytes(), name
    again = start(corpus, output, "--summary", output.parent / "again.csv", *options)
    _, said = again.communicate()
    assert again.returncode == 1
    assert (
        f"phonemi: 0 enhanced, {RECORDINGS - 1} skipped (already there; --overwrite enhances them again), 1 failed"
        in said
    )
    assert_each_once(corpus, output.parent / "again.csv")


def assert_each_once(corpus: Path, summary: Path) -> None:
    with open(summary, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [str(path) for path in audio.find_recordings(corpus / "in")]
    assert [row["source"] for row in rows if row["state"] == "failed"] == [str(corpus / "in" / "3" / "broken.wav")]


@pytest.mark.slow
@pytest.mark.scale
def test_two_shards_of_which_one_is_killed_at_random_ten_times(corpus: Path, tmp_path: Path) -> None:
    output, rng = tmp_path / "out", random.Random(0)
    shards = {part: start(corpus, output, "--shard", part) for part in ("1/2", "2/2")}
    for kill in range(1, KILLS + 1):
        wait_for_files(output, kill * RECORDINGS // (KILLS + 2))
        time.sleep(rng.uniform(0, 0.02))
        part = rng.choice([part for part, process in shards.items() if process.poll() is None])
        shards[part].kill()
        assert shards[part].wait() == -signal.SIGKILL
        shards[part] = start(corpus, output, "--shard", part)
    assert sorted(process.wait() for process in shards.values()) == [0, 1]  # one of them has the broken recording
    assert_complete(corpus, output)


@pytest.mark.slow
@pytest.mark.scale
def test_two_launches_at_once(corpus: Path, tmp_path: Path) -> None:
    launches = [start(corpus, tmp_path / "out", "--summary", tmp_path / f"{number}.csv") for number in range(2)]
    assert [process.wait() for process in launches] == [1, 1]
    for number in range(2):
        assert_each_once(corpus, tmp_path / f"{number}.csv")
    assert_complete(corpus, tmp_path / "out")


def descendants(process: int) -> Iterator[tuple[int, str]]:
    """Numbers and titles of the processes that a process started, and that these started."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.name))
    numbers = list(children.get(process, []))
    for number in numbers:
        numbers += children.get(number, [])
        try:
            yield number, Path(f"/proc/{number}/cmdline").read_text()
        except OSError:
            continue


@pytest.mark.slow
@pytest.mark.scale
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers by /proc")
def test_workers_of_ray_of_which_one_is_killed_at_random_ten_times(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="ray is not installed: pip install 'phonemi[cluster]'")
    output, rng = tmp_path / "out", random.Random(0)
    launch = start(corpus, output, "--on", "ray", "--summary", tmp_path / "rows.csv")
    for kill in range(1, KILLS + 1):
        wait_for_files(output, kill * RECORDINGS // (KILLS + 2))
        time.sleep(rng.uniform(0, 0.02))
        workers = wait_for(lambda: [number for number, title in descendants(launch.pid) if "ray::MapWorker" in title])
        os.kill(rng.choice(workers), signal.SIGKILL)
    _, said = launch.communicate()
    assert launch.returncode == 1, said
    assert said.splitlines()[-1].endswith(", 1 failed")
    assert_each_once(corpus, tmp_path / "rows.csv")
    assert_complete(corpus, output)
    assert_complete(corpus, output, "--on", "ray")


MANY = """
import resource
from pathlib import Path
from conftest import Recorder
from phonemi.inference.corpus import enhance_corpus
from phonemi.inference.plan import plan
from phonemi.inference.rows import writing_rows
from phonemi.inference.summary import Summary

pairs = plan([Path("in")], "out", shards=True)
summary, peaks_kb = Summary(keeps_all=False), []
with writing_rows(Path("rows.jsonl")) as write_row:
    for number, outcome in enumerate(enhance_corpus(Recorder(), pairs), start=1):
        summary.add(outcome)
        write_row(outcome)
        if number % 1000 == 0:
            peaks_kb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(summary.totals()["done"], summary.totals()["skipped"], *(peak // 1024 for peak in peaks_kb))
"""


def run_many(folder: Path) -> list[int]:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.run(
        [sys.executable, "-c", MANY],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return [int(number) for number in process.stdout.split()]


@pytest.mark.slow
@pytest.mark.scale
def test_memory_is_flat_over_a_hundred_thousand_recordings_in_shards(tmp_path: Path) -> None:
    """Ten thousand are enhanced; all are planned and summarised, the others from shards that are there already."""
    audio.save(tmp_path / "a.wav", 0.1 * np.sin(np.arange(160)), 16_000)
    first = tmp_path / "in" / "00.tar"
    first.parent.mkdir()
    with tarfile.open(first, "w") as shard:
        for number in range(1000):
            shard.add(tmp_path / "a.wav", f"{number:04d}.wav")
    for number in range(1, 10):
        shutil.copy(first, tmp_path / "in" / f"{number:02d}.tar")
    done, skipped, *peaks_mb = run_many(tmp_path)
    assert (done, skipped) == (10_000, 0)
    assert peaks_mb[-1] - peaks_mb[1] < 10, peaks_mb
    line = (tmp_path / "out" / RECORD_FILE).read_text().splitlines()[0]
    with open(tmp_path / "out" / RECORD_FILE, "a") as record:
        for number in range(10, 100):
            shutil.copy(first, tmp_path / "in" / f"{number}.tar")
            shutil.copy(tmp_path / "out" / "00.tar", tmp_path / "out" / f"{number}.tar")
            record.write(line.replace("00.tar", f"{number}.tar") + "\n")
    done, skipped, *peaks_mb = run_many(tmp_path)
    assert (done, skipped) == (0, 100_000)
    assert peaks_mb[-1] - peaks_mb[1] < 10, peaks_mb
    with open(tmp_path / "rows.jsonl") as rows:
        assert sum(1 for _ in rows) == 100_000
