"""Folder of a model <-> repository on the Hugging Face hub; whatever goes wrong on the way is one line."""

from __future__ import annotations

from pathlib import Path

from phonemi.errors import ModelError, one_line

NETWORK = "is there a network? A proxy is set with HTTPS_PROXY, another hub with HF_ENDPOINT"
ADVICE = {  # HTTP status: what to do
    401: "log in with `hf auth login` or give a token; the hub says the same of what does not exist",
    403: "the account or the token has no right to that: ask for access, or use a token that may write",
    404: "check the name and the revision",
}


def fetch(repo_id: str, revision: str | None = None, token: str | bool | None = None) -> Path:
    """Local folder with the JSON and safetensors files of a repository.

    Nothing is fetched that the cache has. Without a network, or with HF_HUB_OFFLINE=1, it is what the cache has.

    Args:
        repo_id: "account/model".
        revision: branch, tag or commit; None: main.
        token: of the hub; None: the one of `hf auth login` or HF_TOKEN, if there is one; False: none.

    Raises:
        ModelError: if it cannot be had.
    """
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.safetensors"]
        return Path(snapshot_download(repo_id, revision=revision, token=token, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises a dozen kinds; all mean that the model cannot be had
        raise _explained(f"fetching {repo_id!r} from the hub", error) from None


def push(
    folder: Path,
    repo_id: str,
    private: bool = False,
    token: str | bool | None = None,
    commit_message: str | None = None,
    revision: str | None = None,
) -> str:
    """Commit every file of a folder to a repository, made if absent; its address.

    Args:
        folder: what to upload; of what is there already, files of the same name are replaced.
        repo_id: "account/model".
        private: whether only its account may see it; of a repository that is there already nothing changes.
        token: as for `fetch`; it must have the right to write.
        commit_message: None: the hub's client's own.
        revision: branch, made if absent; None: main.

    Raises:
        ModelError: if the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    if repo_id.count("/") != 1:
        raise ModelError(f"{repo_id!r} is no name on the hub: expected ACCOUNT/MODEL")
    api = HfApi(token=token)
    try:
        url = str(api.create_repo(repo_id, private=private, exist_ok=True))
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message, revision=revision)
    except Exception as error:  # as above
        raise _explained(f"uploading to {repo_id!r} on the hub", error) from None
    return url if revision is None else f"{url}/tree/{revision}"


def _explained(doing: str, error: Exception) -> ModelError:
    """What was asked, what the hub's client found, and what to do."""
    from huggingface_hub.errors import LocalEntryNotFoundError, LocalTokenNotFoundError, OfflineModeIsEnabled

    not_cached = isinstance(error, LocalEntryNotFoundError)
    cause = error.__cause__ if not_cached and isinstance(error.__cause__, Exception) else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    found = one_line(cause) or type(cause).__name__
    if isinstance(cause, OfflineModeIsEnabled):
        found = "HF_HUB_OFFLINE is set"
        advice = "unset it where there is a network"
    elif isinstance(cause, LocalTokenNotFoundError):
        advice = ADVICE[401]
    elif status is not None:
        advice = ADVICE.get(status, "try again later")
    elif isinstance(cause, ValueError) or getattr(cause, "errno", None):  # a bad name or card, a full disk
        advice = ""
    else:
        advice = NETWORK
    cached = ", and the cache holds no whole copy" if not_cached else ""
    return ModelError(": ".join(part for part in (doing, found + cached, advice) if part))
