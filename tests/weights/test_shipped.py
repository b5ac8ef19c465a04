"""weights.shipped: names lead to folders of the right kind, and what is in the package stays small and whole."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import phonemi
from phonemi import Enhancer, load_representation
from phonemi.enhancers.pretrained import MODEL_TYPE as ENHANCER_TYPE
from phonemi.errors import ModelError
from phonemi.files import read_json, write_json
from phonemi.information.phones_kept import MODEL_TYPE as JUDGE_TYPE
from phonemi.information.phones_kept import PhoneJudge
from phonemi.inversion.inverter import MODEL_TYPE as INVERTER_TYPE
from phonemi.inversion.inverter import Inverter
from phonemi.representations.mel_transformer import MODEL_TYPE
from phonemi.weights import shipped

REPOSITORY = Path(__file__).parents[2]
PACKAGE = Path(phonemi.__file__).parent
MOST_BYTES = 27_000_000  # the wheel has to stay under 30 MB
IN_THE_PACKAGE = sorted(path.parent for path in shipped.WEIGHTS.glob("*/config.json"))


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A place with two encoders, an enhancer, and what is none of these."""
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "weights")
    for name, kind in {"mini": MODEL_TYPE, "mini-kmeans": MODEL_TYPE, "default": ENHANCER_TYPE, "bert": "bert"}.items():
        write_json(tmp_path / "weights" / name / "config.json", {"model_type": kind})
        (tmp_path / "weights" / name / "model.safetensors").write_text(name)
    write_json(tmp_path / "weights" / "list" / "config.json", [])
    write_json(tmp_path / "config.json", {"model_type": MODEL_TYPE})
    return tmp_path / "weights"


def test_names_are_found_by_type(weights, monkeypatch):
    assert shipped.names(MODEL_TYPE) == ["mini", "mini-kmeans"]
    assert shipped.names(ENHANCER_TYPE) == ["default"]
    assert shipped.folder_of("mini-kmeans", MODEL_TYPE) == weights / "mini-kmeans"
    assert shipped.listed(MODEL_TYPE) == "mini, mini-kmeans"
    for name in ("default", "maxi", "", ".", "..", "list", "../weights/mini", "mini/", str(weights / "mini")):
        assert shipped.folder_of(name, MODEL_TYPE) is None
    monkeypatch.chdir(weights)
    assert shipped.folder_of("mini", MODEL_TYPE), "also where a folder has this name"
    assert shipped.folder_of(Path("mini"), MODEL_TYPE) is None, "a path is a path"


def test_the_version_is_the_hash_of_the_weights(weights):
    assert shipped.version_of("mini") == hashlib.sha256(b"mini").hexdigest()
    assert shipped.version_of("microsoft/wavlm-base") is shipped.version_of("../weights/mini") is None
    shutil.rmtree(weights)
    assert shipped.version_of("mini") is None
    assert shipped.names(MODEL_TYPE) == []
    assert shipped.listed(MODEL_TYPE) == "none in this version"


def test_the_package_stays_small():
    assert sum(path.stat().st_size for path in shipped.WEIGHTS.rglob("*") if path.is_file()) <= MOST_BYTES


@pytest.mark.parametrize("folder", IN_THE_PACKAGE, ids=lambda folder: folder.name)
def test_what_ships_can_be_loaded_and_has_a_card(folder, monkeypatch):
    loaders: dict[object, Callable[[str], Any]] = {
        ENHANCER_TYPE: Enhancer.from_pretrained,
        JUDGE_TYPE: lambda name: PhoneJudge.load(name).probe,
        MODEL_TYPE: load_representation,
        INVERTER_TYPE: lambda name: (Enhancer.from_pretrained(name), Inverter.from_pretrained(name))[1],
    }
    load = loaders[shipped.type_of(folder / shipped.CONFIG_FILE)]
    if "representation_response" in read_json(folder / shipped.CONFIG_FILE):  # its encoder is one of the hub
        monkeypatch.setattr("transformers.AutoConfig.from_pretrained", Mock(side_effect=OSError("no network")))
        with pytest.raises(ModelError, match=r"\(no network\).* by --encoder \(encoder= in Python\)"):
            load(folder.name)
    else:
        assert not load(folder.name).training
    assert (folder / "README.md").is_file()
    assert not list(folder.rglob(".*")), "nothing half-written"


def test_the_wheel_takes_everything_that_is_in_the_package():
    """Hatch takes all files of a package but those that git ignores."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert settings == {"targets": {"wheel": {"packages": ["src/phonemi"]}}}
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    files += [shipped.WEIGHTS / "mini" / name for name in (shipped.CONFIG_FILE, shipped.WEIGHTS_FILE, "README.md")]
    assert {".py", ".yaml", ".html"} <= {path.suffix for path in files}
    if not (REPOSITORY / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout: nothing is ignored")
    command = ["git", "-C", str(REPOSITORY), "check-ignore", "--no-index", *map(str, files)]
    ignored = subprocess.run(command, capture_output=True, text=True)
    assert (ignored.returncode, ignored.stdout) == (1, ""), "1: none is ignored"
