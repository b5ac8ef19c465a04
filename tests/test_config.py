from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from phonemi.config import Config, load_config, loading, presets, provenance, save_config
from phonemi.errors import ConfigError

REPOSITORY = Path(__file__).parents[1]


def test_defaults_are_those_of_the_paper() -> None:
    found = load_config()
    assert found == Config()
    assert found.information.snrs_db == (-10, -5, 0, 5, 10, 15, 20)
    assert (found.enhance.hidden, found.enhance.layers, found.enhance.steps) == (256, 3, 100_000)
    assert (found.enhance.select_on, found.enhance.batch) == ("pesq_wb_lqo", 8)
    assert not set(found.data.noise_folds.test) & {*found.data.noise_folds.train, *found.data.noise_folds.validation}


def test_files_that_come_with_the_project_can_be_read() -> None:
    pairs = [name for paper in ("bsse", "feature-norm", "inversion") for name in (paper, f"{paper}-mini")]
    assert presets() == [*pairs, "mini", "paper", "quickstart"]
    assert load_config("quickstart").enhance.jobs == 2
    assert load_config(REPOSITORY / "runs" / "real.yaml").enhance.precision == "bf16"


def test_overrides_come_after_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 3\nenhance: {steps: 7, batch: 2}\n")
    found = load_config(tmp_path / "a.yaml", ["enhance.steps=9", "evaluate.snrs_db=[0, 2.5]", "enhance.crop_s=null"])
    assert (found.seed, found.enhance.steps, found.enhance.batch) == (3, 9, 2)
    assert found.evaluate.snrs_db == (0.0, 2.5)
    assert found.enhance.crop_s is None


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# nothing yet\n")
    assert load_config(tmp_path / "a.yaml") == Config()


def test_a_bare_no_is_a_precision(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("enhance:\n  precision: no\n")
    found = load_config(tmp_path / "a.yaml", ["encoder.precision=no", "information.precision=no"])
    assert [part.precision for part in (found.enhance, found.encoder, found.information)] == ["no"] * 3


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    wanted = load_config("quickstart", ["enhance.learning_rate=1.0e-4", "enhance.precision=no", "data.speech=['a b']"])
    save_config(wanted, tmp_path, {"data": "0123"})
    assert load_config(tmp_path / "config.yaml") == wanted
    comments = [line for line in (tmp_path / "config.yaml").read_text().splitlines() if line.startswith("# ")]
    facts = {key: value for key, _, value in (line.removeprefix("# ").partition(": ") for line in comments)}
    assert facts.keys() >= {"python", "machine", "phonemi", "torch", "commit", "command", "data"}
    assert facts["data"] == "0123"


def test_every_value_is_in_the_saved_file(tmp_path: Path) -> None:
    save_config(Config(), tmp_path)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == Config().model_dump(mode="json")


def test_the_commit_is_not_that_of_a_project_that_installed_us(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loading, "__file__", str(tmp_path / "site-packages" / "phonemi" / "config" / "loading.py"))
    assert provenance()["commit"] == "unknown (not a git checkout)"


def test_what_scores_of_words_and_quality_depend_on_is_noted() -> None:
    assert provenance().keys() >= {"faster-whisper", "ctranslate2", "whisper-normalizer", "jiwer", "onnxruntime"}


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        Config().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("enhance.stepz=3", "unknown key 'enhance.stepz'; did you mean 'steps'?"),
        ("enhanse.steps=3", "unknown key 'enhanse'; did you mean 'enhance'?"),
        ("data.noise_folds.tran=[1]", "unknown key 'data.noise_folds.tran'; did you mean 'train'?"),
        ("encoder.rounds=[{stepz: 3}]", "unknown key 'encoder.rounds.0.stepz'; did you mean 'steps'?"),
        ("enhance.steps", "--set enhance.steps: expected KEY=VALUE"),
        ("enhance.steps=", "enhance.steps: Input should be a valid integer (found None)"),
        ("enhance.steps=many", "enhance.steps: Input should be a valid integer"),
        ("enhance.steps=0", "enhance.steps: Input should be greater than or equal to 1 (found 0)"),
        ("enhance.steps=[", "--set enhance.steps=[: the value is not YAML"),
        ("enhance.rows=log1p", "enhance.rows: Input should be a valid tuple (found 'log1p')"),
        ("enhance.select_on=pesq", "Input should be 'pesq_wb_lqo', 'stoi', 'si_sdri_db' or 'loss' (found 'pesq')"),
        ("enhance.learning_rate=.inf", "enhance.learning_rate: Input should be a finite number"),
        ("information.snrs_db=[.nan]", "information.snrs_db.0: Input should be a finite number"),
        ("information.snrs_db=[]", "information.snrs_db: Tuple should have at least 1 item"),
        ("encoder.rounds=[]", "encoder.rounds: Tuple should have at least 1 item"),
        ("evaluate.systems={noisy: default}", "evaluate.systems: 'noisy' is a row already"),
        ("evaluate.systems={'../a': default}", "evaluate.systems: '../a' cannot be the name of a row"),
        ("data.test_share=1", "data.test_share: Input should be less than 1"),
        ("seed=-1", "seed: Input should be greater than or equal to 0"),
        ("seed.a=1", "seed: Input should be a valid integer"),
        ("=1", "unknown key ''; known: aggregate, data"),
        ("1=1", "unknown key '1'"),
    ],
)
def test_a_wrong_override_is_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_override_below_a_value(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 3\n")
    with pytest.raises(ConfigError, match=r"--set seed\.a=1: seed is a value, not a section"):
        load_config(tmp_path / "a.yaml", ["seed.a=1"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"enhance: {steps: [", "is not YAML"),
        (b"enhance: !!python/object:os.system {}", "is not YAML"),
        (b"\xff\xfe\x00\x01", "cannot read the configuration"),
        (b"- a\n- b\n", "expected sections with keys, found list"),
        (b"just words", "expected sections with keys, found str"),
        (b"enhance: {stepz: 3}", "a.yaml: unknown key 'enhance.stepz'; did you mean 'steps'?"),
        (b"1: 2", "1: Keys should be strings (found 1)"),
        (b"\x00\x01", "is not YAML"),
    ],
)
def test_a_garbled_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "a.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("quikstart", "did you mean 'quickstart'?"),
        ("other", "not a file, and no preset (known: bsse, bsse-mini, feature-norm, feature-norm-mini, inversion, "),
        ("absent.yaml", "cannot read the configuration absent.yaml"),
        (".", "cannot read the configuration ."),
        ("a" * 5000, "cannot read the configuration"),
    ],
)
def test_a_file_that_is_not_there(source: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(source)
    assert message in str(error.value)


def test_there_is_one_test_set() -> None:
    load_config(None, ["evaluate.recordings=noisy.jsonl", "evaluate.pairs=null"])
    with pytest.raises(ConfigError, match=r"evaluate\.recordings: .*evaluate\.pairs names another test set: set one"):
        load_config(None, ["evaluate.recordings=noisy.jsonl", "evaluate.pairs=pairs.jsonl"])
    with pytest.raises(ConfigError, match=r"evaluate\.phone_bits: .*recordings have no clean speech"):
        load_config(None, ["evaluate.recordings=noisy.jsonl", "evaluate.phone_bits=true"])


def test_a_folder_named_like_a_preset_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()  # `phonemi quickstart` makes it before it reads its preset
    assert load_config("quickstart") == load_config(REPOSITORY / "src" / "phonemi" / "presets" / "quickstart.yaml")
