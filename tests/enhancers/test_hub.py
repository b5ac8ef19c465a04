"""phonemi.enhancers.pretrained: the real client of the hub against a small hub on this machine, over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants, file_download

from phonemi import audio
from phonemi.aggregations import WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.errors import ModelError
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig

WRITER = "hf_writer"
FACTS = {
    "licence": "apache-2.0",
    "data": [{"name": "made up", "licence": "CC0", "hub": "someone/sounds"}],
    "metrics": {"rows": [{"row": "noisy", "wer": 0.5}], "comparisons": []},
    "load": "default",
}


class Hub(ThreadingHTTPServer):
    """As much of the hub as is needed to make a repository, commit to it and fetch it again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.visibility: dict[str, str] = {}
        self.branches: dict[tuple[str, str], dict[str, bytes]] = {}  # (repository, branch) -> path -> content
        self.messages: list[str] = []
        self.served: list[str] = []

    def commit(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Its hash and files, by the name of a branch or that hash."""
        for (name, branch), files in self.branches.items():
            sha = hashlib.sha1(repr((name, branch, sorted(files.items()))).encode()).hexdigest()
            if name == repository and revision in (branch, sha):
                return sha, files
        return None


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does."""

    server: Hub

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[2:]]
        if parts == ["validate-yaml"]:
            front_matter = yaml.safe_load(json.loads(content)["content"].split("---\n")[1])
            if front_matter.get("license", "other") not in ("apache-2.0", "other"):
                errors = [{"message": '"license" must be one of [apache-2.0, other]'}]
                return self.answer(400, {"errors": errors, "warnings": []})
            return self.answer(200, {"errors": [], "warnings": []})
        if (status := {f"Bearer {WRITER}": 200, None: 401}.get(self.headers["Authorization"], 403)) != 200:
            return self.answer(status, {"error": "Invalid username or password." if status == 401 else "No right."})
        if parts == ["repos", "create"]:
            asked = json.loads(content)
            repository = f"{asked['organization']}/{asked['name']}"
            known = self.server.visibility.setdefault(repository, asked.get("visibility") or str(asked.get("private")))
            self.server.branches.setdefault((repository, "main"), {})
            return self.answer(200, {"url": f"{self.server.url}/{repository}", "known": known})
        repository, verb, branch = "/".join(parts[1:3]), parts[3], parts[4]
        if verb == "branch":
            self.server.branches.setdefault((repository, branch), {})
            return self.answer(200, {})
        if verb == "preupload":
            modes = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            files = json.loads(content)["files"]
            return self.answer(200, {"files": [{"path": file["path"], **modes} for file in files]})
        header, *files = [json.loads(line)["value"] for line in content.splitlines()]
        kept = self.server.branches[repository, branch]
        kept.update({file["path"]: base64.b64decode(file["content"]) for file in files})
        self.server.messages.append(header["summary"])
        return self.answer(200, {"commitUrl": f"{self.server.url}/{repository}/commit/1", "commitOid": "1"})

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        if parts[0] == "api":
            repository, verb, revision = "/".join(parts[2:4]), *(parts[4:6] or ("revision", "main"))
        else:
            repository, verb, revision = "/".join(parts[:2]), *parts[2:4]
        if repository not in self.server.visibility:
            return self.answer(401, {"error": "Invalid username or password."}, **{"X-Error-Code": "RepoNotFound"})
        found = self.server.commit(repository, revision)
        if found is None:
            return self.answer(404, {"error": "no such revision"}, **{"X-Error-Code": "RevisionNotFound"})
        sha, files = found
        self.server.served.append(self.path)
        if verb == "revision":
            return self.answer(200, {"id": repository, "sha": sha, "siblings": [{"rfilename": path} for path in files]})
        if verb == "tree":
            hashes = {path: hashlib.sha1(content).hexdigest() for path, content in files.items()}
            sizes = [{"path": path, "size": len(files[path]), "oid": oid} for path, oid in hashes.items()]
            return self.answer(200, [{"type": "file", **size} for size in sizes])
        content = files["/".join(parts[4:])]
        return self.answer(200, content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', **{"X-Repo-Commit": sha})

    do_HEAD = do_GET

    def answer(self, status: int, body: Any, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    for module in (constants, file_download):  # huggingface_hub 0.x has a copy in the second
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    torch.manual_seed(0)
    config = MelTransformerConfig(mels=8, dim=16, blocks=1, heads=2, feedforward=8, position_kernel=3)
    made = Enhancer(MelTransformer(config), WeightedSum(2), MaskEnhancer(16, hidden=4, layers=1), "small")
    made.facts = FACTS
    return made


def test_what_is_pushed_can_be_loaded_by_its_name(hub: Hub, enhancer: Enhancer) -> None:
    url = enhancer.push_to_hub("someone/small", private=True, token=WRITER, commit_message="first")
    assert url == f"{hub.url}/someone/small"
    assert hub.visibility["someone/small"] in ("private", "True")
    assert hub.messages == ["first"]
    files = hub.branches["someone/small", "main"]
    encoder = ["encoder/config.json", "encoder/model.safetensors"]
    assert sorted(files) == ["README.md", "config.json", *encoder, "model.safetensors"]
    loaded = Enhancer.from_pretrained("someone/small")
    noisy = torch.randn(4000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded.enhance(noisy, 16_000), enhancer.enhance(noisy, 16_000))
    assert loaded.facts == {key: fact for key, fact in FACTS.items() if key != "load"}


def test_the_card_is_one_of_the_hub(hub: Hub, enhancer: Enhancer) -> None:
    from huggingface_hub import ModelCard

    enhancer.push_to_hub("someone/small", token=WRITER)
    card = ModelCard(hub.branches["someone/small", "main"]["README.md"].decode())
    found = {key: card.data[key] for key in ("library_name", "pipeline_tag", "license", "datasets", "metrics")}
    assert found == {
        "library_name": "phonemi",
        "pipeline_tag": "audio-to-audio",
        "license": "apache-2.0",
        "datasets": ["someone/sounds"],
        "metrics": ["wer"],
    }
    assert 'Enhancer.from_pretrained("someone/small")' in card.text
    assert "It works at 16 kHz" in card.text


def test_a_revision_is_a_branch_of_its_own(hub: Hub, enhancer: Enhancer) -> None:
    url = enhancer.push_to_hub("someone/small", token=WRITER, revision="v2")
    assert url == f"{hub.url}/someone/small/tree/v2"
    assert hub.branches["someone/small", "main"] == {}
    assert Enhancer.from_pretrained("someone/small", revision="v2").name == "small"
    with pytest.raises(ModelError, match=r"404.*check the name and the revision"):
        Enhancer.from_pretrained("someone/small", revision="v3")


def test_only_what_is_on_the_hub_has_revisions() -> None:
    with pytest.raises(
        ModelError, match=r"no enhancer 'default' with revision 'v1': expected the hub id ACCOUNT/MODEL"
    ):
        Enhancer.from_pretrained("default", revision="v1")


def test_a_second_load_fetches_no_weights_and_none_needs_a_network(hub: Hub, enhancer: Enhancer) -> None:
    enhancer.push_to_hub("someone/small", token=WRITER)
    Enhancer.from_pretrained("someone/small")
    hub.served.clear()
    Enhancer.from_pretrained("someone/small")
    assert not [path for path in hub.served if "/resolve/" in path]
    hub.shutdown()
    hub.server_close()
    assert Enhancer.from_pretrained("someone/small").name == "small"
    with pytest.raises(ModelError, match=r"and the cache holds no whole copy: is there a network\?"):
        Enhancer.from_pretrained("someone/else")
    with pytest.raises(ModelError, match=r"uploading to 'someone/small'.*is there a network\?"):
        enhancer.push_to_hub("someone/small", token=WRITER)


@pytest.mark.parametrize(
    ("repo_id", "token", "message"),
    [
        ("someone/small", None, r"401.*log in with `hf auth login` or give a token"),
        ("someone/small", True, "log in with `hf auth login` or give a token"),
        ("someone/small", "hf_reader", "403.*use a token that may write"),
        ("someone/sm all", WRITER, "'someone/sm all'.*epo id must"),
        ("small", WRITER, "'small' is no name on the hub: expected ACCOUNT/MODEL"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub: Hub, enhancer: Enhancer, repo_id: str, token: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        enhancer.push_to_hub(repo_id, token=token)
    assert "\n" not in str(caught.value)
    assert not hub.branches


def test_a_card_that_the_hub_refuses_says_why(hub: Hub, enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enhancer, "facts", {"licence": "CC BY 4.0"})
    with pytest.raises(ModelError, match='"license" must be one of') as caught:
        enhancer.push_to_hub("someone/small", token=WRITER)
    assert "network" not in str(caught.value)


def test_no_such_model(hub: Hub) -> None:
    with pytest.raises(ModelError, match=r"fetching 'no/body' from the hub: 401.*the same for what does not exist"):
        Enhancer.from_pretrained("no/body")


@pytest.mark.slow
def test_a_command_without_a_network(hub: Hub, enhancer: Enhancer, tmp_path: Path) -> None:
    audio.save(tmp_path / "noisy.wav", 0.1 * np.sin(np.arange(1000)), 16_000)
    enhancer.push_to_hub("someone/small", token=WRITER)
    Enhancer.from_pretrained("someone/small")
    code = """
import sys
from phonemi import Enhancer, PhonemiError
from phonemi.cli import main
try:
    Enhancer.from_pretrained("someone/else")
except PhonemiError as error:
    print(error)
sys.argv[1:] = ["enhance", "noisy.wav", "-o", "clean.wav", "--model", "someone/small"]
main()
"""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == (
        "fetching 'someone/else' from the hub: HF_HUB_OFFLINE is set, and the cache holds no whole copy: "
        "unset it where there is a network\n"
    )
    assert audio.load_channels(tmp_path / "clean.wav")[0].shape == (1, 1000)
