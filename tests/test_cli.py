"""The command line: help, exit codes, and one line for whatever is wrong with what it is given."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from phonemi import __version__, audio, cli
from phonemi.config import load_config
from phonemi.data.manifest import Interval, read_manifest, write_manifest
from phonemi.errors import PhonemiWarning
from phonemi.files import write_json
from phonemi.stages.run import Run

GROUPS = {
    "Recordings": ["enhance", "invert", "listen", "judge", "demo", "serve"],
    "Research": [
        *("quickstart", "prepare", "align", "pretrain", "information", "aggregate", "train", "evaluate"),
        *("report", "table", "status", "figure", "config"),
    ],
    "Tools": ["export", "convert", "doctor", "bench"],
}
COMMANDS = [name for names in GROUPS.values() for name in names]

Phonemi = Callable[..., Any]


def settings_of(corpus: Any, *changes: str) -> list[str]:
    return [word for setting in (*corpus.settings, *changes) for word in ("--set", setting)]


# Help and usage ---------------------------------------------------------------------------------------------------


def test_every_command_is_listed_in_its_group(phonemi: Phonemi) -> None:
    outcome = phonemi("--help")
    assert outcome.code == 0
    groups: dict[str, list[str]] = {}
    for line in outcome.stdout.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            group = groups.setdefault(line.removesuffix(":"), [])
        elif groups and line[2:3].strip():
            group.append(line.split()[0])
    del groups["Options"]
    assert groups == GROUPS
    assert set(COMMANDS) == set(get_command(cli.app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_arguments_are_named_for_people(phonemi: Phonemi, command: str) -> None:
    """Not by the types of Python, such as <list[Path]>, nor by names of variables."""
    text = phonemi(command, "--help").stdout
    assert not re.search(r"<[a-z]|[{]", text), text
    usage = text.partition("\n\n")[0]
    for parameter in get_command(cli.app).commands[command].params:  # type: ignore[attr-defined]
        if parameter.param_type_name == "argument":
            assert f" {parameter.metavar}" in usage.replace("[", " ")
        if not getattr(parameter, "is_flag", False):
            assert parameter.metavar == (parameter.metavar or "").upper() != "", parameter.name


def test_the_shell_completes_commands_and_options(phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--install-completion" in phonemi("--help").stdout
    monkeypatch.setenv("_PHONEMI_COMPLETE", "complete_bash")
    for typed, completed in (("phonemi enh", "enhance"), ("phonemi enhance --atten", "--attenuation-limit-db")):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
        outcome = phonemi()
        assert (outcome.code, outcome.stdout.split()) == (0, [completed])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_quiet(phonemi: Phonemi, command: str) -> None:
    assert "-q, --quiet" in phonemi(command, "--help").stdout


def test_quiet_leaves_results_and_errors(phonemi: Phonemi, corpus: Any, tmp_path: Path) -> None:
    """Progress, notes and warnings are not said; what is printed, errors and exit codes are as before."""
    arguments = ["information", "--run", tmp_path / "run", *settings_of(corpus)]
    loud = phonemi(*arguments)
    assert "information: " in loud.stderr
    shutil.rmtree(tmp_path / "run")
    quiet = phonemi(*arguments, "--quiet")
    assert (quiet.code, quiet.stderr) == (0, "")
    assert quiet.stdout == loud.stdout
    before = phonemi("-q", *arguments)
    assert (before.code, before.stderr, before.stdout) == (0, "", loud.stdout), "before the command too"
    assert "already" in phonemi(*arguments).stderr, "not longer than the command"
    assert phonemi("prepare", "folder", tmp_path / "absent", "-q").error == (
        phonemi("prepare", "folder", tmp_path / "absent").error
    )
    assert phonemi("prepare", "esc50", corpus.data / "esc10", "-q", "-o", tmp_path / "a.jsonl").stderr == ""
    assert phonemi("prepare", "esc50", corpus.data / "esc10", "-o", tmp_path / "a.jsonl").stderr != ""


def test_quiet_holds_warnings_back(phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch) -> None:
    def warning(*_: object) -> None:
        warnings.warn("clipped: it is not repaired", PhonemiWarning, stacklevel=1)

    monkeypatch.setattr("phonemi.stages.align.run", warning)
    assert phonemi("align", "speech.jsonl", "-q").stderr == ""
    assert phonemi("align", "speech.jsonl").stderr == "phonemi: note: clipped: it is not repaired\n"


def test_waiting_threads_do_not_spin(phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    phonemi("--version")
    assert os.environ["OMP_WAIT_POLICY"] == "active", "what is set already stays"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    phonemi("--version")
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_the_version(phonemi: Phonemi) -> None:
    assert phonemi("--version").stdout == f"phonemi {__version__}\n"


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_and_has_an_example(
    phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch, command: str | None, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    outcome = phonemi(*([command] if command else []), "--help")
    assert outcome.code == 0
    assert max(map(len, outcome.stdout.splitlines())) <= columns
    assert "…" not in outcome.stdout, "no name is cut"
    _, _, after = outcome.stdout.partition("Example:\n")
    example = after.partition("\n\n")[0]
    words = shlex.split(example.replace("\\\n", " "))
    assert words[0] == "phonemi"
    assert words[1] == (command or "quickstart")
    parameters = get_command(cli.app).commands[words[1]].params  # type: ignore[attr-defined]
    known = {option for parameter in parameters for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage: phonemi"),
        (["trian"], "Did you mean 'train'"),
        (["train", "--run", "x", "--rwo", "log1p"], "--row"),
        (["train"], "Missing option '--run'"),
        (["prepare", "esc50"], "Missing argument 'FOLDER'"),
        (["prepare", "synthetic", "x", "--utterances", "many"], "Invalid value for '--utterances'"),
        (["enhance", "x.wav", "--model", "m"], "Missing option '--output'"),
    ],
)
def test_wrong_usage_is_exit_2(phonemi: Phonemi, arguments: list[str], message: str, tmp_path: Path) -> None:
    outcome = phonemi(*arguments)
    assert outcome.code == 2
    assert message in outcome.stderr + outcome.stdout
    assert "Traceback" not in outcome.stderr


def test_an_interruption_says_how_to_go_on(phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("phonemi.stages.align.run", interrupted)
    outcome = phonemi("align", "speech.jsonl")
    assert (outcome.code, outcome.stderr) == (130, "phonemi: interrupted; run the same command again to go on\n")


def test_a_warning_is_one_line_without_our_code(phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch) -> None:
    def warning(*_: object) -> None:
        warnings.warn("clipped: it is not repaired", PhonemiWarning, stacklevel=1)
        warnings.warn("of another package", FutureWarning, stacklevel=1)

    monkeypatch.setattr("phonemi.stages.align.run", warning)
    with pytest.warns(FutureWarning, match="of another package"):
        outcome = phonemi("align", "speech.jsonl")
    assert (outcome.code, outcome.stderr) == (0, "phonemi: note: clipped: it is not repaired\n")


def test_a_defect_of_ours_is_one_line_too(phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("phonemi.stages.align.run", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    outcome = phonemi("align", "speech.jsonl")
    (kept,) = tmp_path.iterdir()
    assert outcome.code == 1
    assert outcome.stderr == f"phonemi: unexpected ZeroDivisionError: division by zero (traceback in {kept})\n"
    assert "broken" in kept.read_text()


@pytest.mark.parametrize("how", ["option", "variable"])
def test_contributors_see_where_an_error_happened(
    phonemi: Phonemi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    if how == "variable":
        monkeypatch.setenv("PHONEMI_DEBUG", "1")
    missing = tmp_path / "missing.jsonl"
    outcome = phonemi(*(["--debug"] if how == "option" else []), "align", missing)
    assert outcome.code == 1
    assert 'raise DataError(f"' in outcome.stderr, "a line of the traceback"
    assert outcome.stderr.splitlines()[-1] == f"phonemi: {missing} does not exist"
    monkeypatch.delenv("PHONEMI_DEBUG", raising=False)
    assert "Traceback" not in phonemi("align", missing).stderr


# Corpora and manifests --------------------------------------------------------------------------------------------


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_manifest_that_does_not_fit_on_the_disk(
    phonemi: Phonemi, corpus: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("phonemi.files.os.fsync", no_room)
    outcome = phonemi("prepare", "esc50", corpus.data / "esc10", "-o", tmp_path / "noise.jsonl")
    assert outcome.error == "No space left on device"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["esc5", "."], "unknown corpus 'esc5'; did you mean 'esc50'?"),
        (["esc50", ".", "--subset", "dev-clean"], "--subset does not apply to esc50, which takes no option"),
        (
            ["librispeech", ".", "--utterances", "3"],
            "--utterances does not apply to librispeech, which takes --subset, --alignments",
        ),
        (["folder", ".", "--download"], "folder is not downloaded: give the folder where it is"),
        (["librispeech", "absent"], "no LibriSpeech in absent"),
        (["folder", "absent"], "absent"),
        (["folder", ".", "--where", "mos>3"], "no table was given"),
    ],
)
def test_wrong_preparation(phonemi: Phonemi, tmp_path: Path, arguments: list[str], message: str) -> None:
    outcome = phonemi("prepare", *arguments, "-o", tmp_path / "manifest.jsonl")
    assert message in outcome.error
    assert list(tmp_path.iterdir()) == []


def test_pairs_that_do_not_fit_end_a_strict_preparation_only(phonemi: Phonemi, tmp_path: Path) -> None:
    for name, samples in (("noisy/a", 1600), ("clean/a", 1600), ("noisy/b", 1600), ("clean/b", 800)):
        audio.save(tmp_path / f"{name}.wav", np.full(samples, 0.1, np.float32), 16_000)
    manifest = tmp_path / "pairs.jsonl"
    arguments = ["prepare", "folder", tmp_path / "noisy", "--clean", tmp_path / "clean", "-o", manifest]
    outcome = phonemi(*arguments, "--strict")
    assert "1 recording skipped: 1 with a clean counterpart of another length (b:" in outcome.error
    assert not manifest.exists()
    outcome = phonemi(*arguments)
    assert outcome.code == 0
    assert "(b:" in outcome.stderr
    assert [recording.id for recording in read_manifest(manifest)] == ["a"]
    (tmp_path / "clean" / "a.wav").unlink()
    assert "2 recordings skipped: " in phonemi(*arguments).error


def misfit(recording: Any) -> Any:
    return replace(recording, phones=(Interval(0.0, recording.duration_s + 1, "AA"),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda recording: replace(recording, path="/absent.flac"), "cannot read /absent.flac: No such file"),
        (misfit, "ends after the audio"),
        (lambda recording: replace(recording, samples=17, phones=None), "the manifest says 17"),
    ],
)
def test_a_manifest_that_contradicts_its_recordings(
    phonemi: Phonemi, corpus: Any, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    recordings = read_manifest(corpus.speech)
    write_manifest(tmp_path / "speech.jsonl", [change(recordings[0]), *recordings[1:]])
    changed = f"data.speech=[{tmp_path / 'speech.jsonl'}]"
    outcome = phonemi("pretrain", "--run", tmp_path / "run", *settings_of(corpus, changed))
    assert message in outcome.error
    assert recordings[0].id in outcome.error
    assert not (tmp_path / "run" / "encoder").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not json\n", "speech.jsonl:1: not JSON"),
        (b'{"id": "a"}\n', "speech.jsonl:1: missing key 'path'"),
        (b'{"id": "a", "pahts": "a.wav"}\n', "speech.jsonl:1: unknown key 'pahts'; did you mean 'path'?"),
        (b"\xff\xfe\x00", "speech.jsonl is not a JSON-lines file"),
        (b"", "the manifest is empty"),
    ],
)
def test_a_garbled_manifest(phonemi: Phonemi, corpus: Any, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "speech.jsonl").write_bytes(content)
    changed = f"data.speech=[{tmp_path / 'speech.jsonl'}]"
    outcome = phonemi("pretrain", "--run", tmp_path / "run", *settings_of(corpus, changed))
    assert message in outcome.error


# Configurations and the order of stages ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("enhance.stepz=3", "unknown key 'enhance.stepz'; did you mean 'steps'?"),
        ("enhance.rows=[ws-hybird]", "unknown row 'ws-hybird'; did you mean 'ws-hybrid'?"),
        ("data.speech=[absent.jsonl]", "manifest absent.jsonl does not exist: make it with `phonemi prepare`"),
        ("data.speech=[]", "data.speech names no manifest: make one with `phonemi prepare`"),
        ("data.test_share=0.9", "sum to less than 1"),
        ("data.keep_in_training=[ls-101, ls-102, ls-103, ls-104, ls-105]", "may be held out: name more speech"),
        ("encoder.heads=3", "dim 16 must be a multiple of heads 3"),
        ("encoder.precision=fp16", "precision is 'fp16', which needs a GPU"),
        ("encoder.crop_frames=100000", "s of speech to train the encoder on"),
    ],
)
def test_wrong_settings(phonemi: Phonemi, corpus: Any, tmp_path: Path, change: str, message: str) -> None:
    outcome = phonemi("pretrain", "--run", tmp_path / "run", *settings_of(corpus, "device=cpu", change))
    assert message in outcome.error
    assert outcome.code == 2 or "unknown" not in message
    assert not (tmp_path / "run" / "encoder" / "result.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.noise_folds.test=[4]", "fold 4 is in two parts"),
        ("data.noise_folds.test=[7]", "no recording is in fold 7; the folds are [1, 2, 3, 4, 5]"),
        ("data.noise=[]", "data.noise names no manifest"),
        ("enhance.precision=fp16", "precision is 'fp16', which needs a GPU"),
    ],
)
def test_wrong_settings_of_a_training(phonemi: Phonemi, corpus: Any, tmp_path: Path, change: str, message: str) -> None:
    settings = settings_of(corpus, "device=cpu", change)
    assert message in phonemi("train", "--run", tmp_path / "run", "--row", "log1p", *settings).error
    assert not (tmp_path / "run" / "rows" / "log1p" / "result.json").exists()


def test_an_unknown_row(phonemi: Phonemi, corpus: Any, tmp_path: Path) -> None:
    outcome = phonemi("train", "--run", tmp_path / "run", "--row", "log1", *settings_of(corpus))
    assert outcome.error == "unknown row 'log1'; did you mean 'log1p'?"


def test_a_garbled_configuration(phonemi: Phonemi, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("enhance: [")
    outcome = phonemi("train", "--run", tmp_path / "run", "--config", tmp_path / "a.yaml")
    assert f"{tmp_path / 'a.yaml'} is not YAML" in outcome.error
    assert not (tmp_path / "run").exists()
    assert "did you mean 'quickstart'?" in phonemi("train", "--run", tmp_path / "run", "-c", "quikstart").error


@pytest.mark.parametrize(
    ("stage", "removed", "needed"),
    [
        ("information", "encoder/result.json", "pretrain"),
        ("aggregate", "encoder/result.json", "pretrain"),
        ("train", "information.json", "information"),
        ("train", "aggregations/dws/result.json", "aggregate"),
        ("evaluate", "information.json", "information"),
        ("evaluate", "rows/layer/result.json", "train"),
    ],
)
def test_a_stage_before_the_one_it_needs(
    phonemi: Phonemi, finished: Any, tmp_path: Path, stage: str, removed: str, needed: str
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    (folder / removed).unlink()
    done = {"information": ["information.json"], "aggregate": ["aggregations"], "evaluate": ["metrics.json"]}
    for name in done.get(stage, ["rows/layer/result.json", "rows/dws-linguistic/result.json"]):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    outcome = phonemi(stage, "--run", folder)
    assert f"run `phonemi {needed} --run {folder}` first" in outcome.error
    assert f"{removed}" in outcome.error or "rows/" in removed


def test_an_encoder_with_another_number_of_layers(phonemi: Phonemi, finished: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    description = folder / "aggregations" / "ws" / "aggregation.json"
    write_json(description, json.loads(description.read_text()) | {"layers": 13})
    outcome = phonemi("train", "--run", folder, "--row", "ws-linguistic+log1p")
    assert "the aggregation was made for 13 layers, the encoder has 3" in outcome.error
    assert not (folder / "rows" / "ws-linguistic+log1p").exists()


def test_a_row_that_needs_an_aggregation_nobody_asks_for(phonemi: Phonemi, finished: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    outcome = phonemi("train", "--run", folder, "--row", "dws-hybrid", "--set", "aggregate.aggregations=[ws]")
    assert "row dws-hybrid needs the aggregation 'dws': add it to aggregate.aggregations" in outcome.error


@pytest.mark.parametrize(
    ("stage", "package", "changes"),
    [
        ("train", "pesq", ["enhance.select_on=pesq_wb_lqo"]),
        ("train", "pystoi", ["enhance.select_on=stoi"]),
        (
            "evaluate",
            "pocketsphinx",
            ["evaluate.recogniser=pocketsphinx", "evaluate.endpoint={row: log1p, against: noisy}"],
        ),
        ("evaluate", "jiwer", ["evaluate.recogniser=pocketsphinx", "evaluate.endpoint={row: log1p, against: noisy}"]),
    ],
)
def test_a_package_that_is_not_installed(
    phonemi: Phonemi, finished: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stage: str, package: str,
    changes: list[str],
) -> None:  # fmt: skip
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    monkeypatch.setitem(sys.modules, package, None)
    overrides = [word for change in changes for word in ("--set", change)]
    outcome = phonemi(stage, "--run", folder, *overrides)
    assert outcome.error.startswith(f"{package} is not installed")
    advice = "[eval]', or set enhance.select_on to another score" if stage == "train" else "[metrics]'"
    assert outcome.error.endswith(f"pip install 'phonemi{advice}")


def test_an_error_in_a_process_of_a_stage(phonemi: Phonemi, finished: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    changes = ("enhance.jobs=2", "enhance.rows=[layer-98, layer-99]")
    outcome = phonemi("train", "--run", folder, *[word for change in changes for word in ("--set", change)])
    assert outcome.error.startswith("row 'layer-9")
    assert outcome.error.endswith("the encoder has layers 0 to 2")


def test_a_report_of_a_run_whose_data_is_elsewhere(
    phonemi: Phonemi, finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "sent" / "run")
    shutil.rmtree(folder / "cache", ignore_errors=True)
    (folder / "report.html").unlink(missing_ok=True)
    text = (folder / "config.yaml").read_text().replace("speech.jsonl", "not_here.jsonl")
    (folder / "config.yaml").write_text(text)
    monkeypatch.chdir(folder.parent)
    outcome = phonemi("report", "run")
    assert outcome.code == 0, outcome.stderr
    assert "report: the examples are left as they are: manifest" in outcome.stderr
    page = (folder / "report.html").read_text()
    assert "<audio" in page
    assert "WS (Linguistic)" in page


def test_a_command_that_fails_before_any_result_leaves_no_new_folder(
    phonemi: Phonemi, corpus: Any, tmp_path: Path, blank_figures: None
) -> None:
    folder = tmp_path / "new" / "run"
    absent = ("--set", "evaluate.systems={theirs: absent/model}", "--set", f"evaluate.recordings={corpus.speech}")
    outcome = phonemi("evaluate", "--run", folder, *absent, "--set", "enhance.rows=[]")
    assert "absent/model" in outcome.error
    assert not folder.parent.exists()
    folder.mkdir(parents=True)
    assert phonemi("evaluate", "--run", folder, *absent, "--set", "enhance.rows=[]").code == 1
    assert not list(folder.iterdir()), "a folder that was there and empty stays"
    (folder / "notes.txt").write_text("mine")
    assert phonemi("evaluate", "--run", folder, *absent, "--set", "enhance.rows=[]").code == 1
    assert {"notes.txt", "config.yaml"} <= {path.name for path in folder.iterdir()}


def test_the_command_that_an_error_names_has_all_its_options(
    phonemi: Phonemi, corpus: Any, tmp_path: Path, blank_figures: None
) -> None:
    folder = tmp_path / "run"
    settings = settings_of(corpus, "enhance.rows=[log1p]", "representation=log1p")
    outcome = phonemi("evaluate", "--run", folder, *settings)
    assert not folder.exists()
    named = shlex.split(outcome.error.partition("`")[2].partition("`")[0])
    assert named == ["phonemi", "information", "--run", str(folder), *settings]


def test_a_report_of_a_run_without_results_says_which_command_to_run(
    phonemi: Phonemi, corpus: Any, tmp_path: Path, blank_figures: None
) -> None:
    folder = tmp_path / "run"
    for changes, stage in {
        (): "pretrain",
        ("representation=mini",): "information",
        ("enhance.rows=[]",): "evaluate",
    }.items():
        Run(folder, load_config(None, [*corpus.settings, *changes]))
        (folder / "timings.json").write_text('{"stages": []}')
        before = sorted(folder.rglob("*"))
        outcome = phonemi("report", folder)
        assert outcome.code == 1
        assert outcome.error == f"{folder} has no results to report: run `phonemi {stage} --run {folder}` first"
        assert sorted(folder.rglob("*")) == before


def test_a_report_of_no_run(phonemi: Phonemi, tmp_path: Path, blank_figures: None) -> None:
    for folder in (tmp_path / "absent", tmp_path):
        expected = f"{folder} is no run folder; a page on recordings is made by phonemi report NOISY ENHANCED"
        assert phonemi("report", folder).error == expected
    assert not list(tmp_path.iterdir())
