"""Models on the Hugging Face hub: fetch the files of one, upload a folder; and where the model of a name lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phonemi.errors import ModelError, one_line
from phonemi.weights.shipped import CONFIG_FILE, folder_of, listed

HUB_ADVICE = "is there a network? A proxy is set with HTTPS_PROXY, another hub with HF_ENDPOINT"
STATUS_ADVICE = {  # by HTTP status
    401: "log in with `hf auth login` or give a token; the hub answers the same for what does not exist",
    403: "the account or the token lacks the right: ask for access, or use a token that may write",
    404: "check the name and the revision",
}


def find_model(name: str | Path, model_types: Sequence[str], revision: str | None, token: str | bool | None) -> Path:
    """Folder of a model: shipped in the package, local, or from the hub, and only from there with a revision.

    Args:
        name: of a model that ships, a folder with config.json, or a hub id.
        model_types: of those that ship and may be meant, such as "phonemi-enhancer". Those of the first are named in
            messages, which call them by what follows the hyphen.
        revision, token: see `fetch`.

    Raises:
        ModelError: if there is no such model.
    """
    what = model_types[0].rpartition("-")[2]
    text = str(name)
    is_hub_id = text.count("/") == 1 and not text.startswith((".", "/", "~"))
    if revision is None:
        for model_type in model_types:
            if (shipped_folder := folder_of(name, model_type)) is not None:
                return shipped_folder
        if (Path(text) / CONFIG_FILE).is_file():
            return Path(text)
        if Path(text).exists() or not is_hub_id:
            raise ModelError(
                f"no {what} {text!r}: expected one that ships ({listed(model_types[0])}), a folder with "
                f"{CONFIG_FILE} (phonemi train makes one) or a hub id"
            )
    elif not is_hub_id:
        raise ModelError(f"no {what} {text!r} with revision {revision!r}: expected the hub id ACCOUNT/MODEL")
    return fetch(text, revision, token)


def fetch(repo_id: str, revision: str | None, token: str | bool | None) -> Path:
    """Download the JSON and safetensors files of a repository; returns the local folder.

    Files in the cache are not downloaded again. Without a network, or with HF_HUB_OFFLINE=1, only the cache is used.
    Arguments and errors are those of `Enhancer.from_pretrained`; token False: none.
    """
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.safetensors"]
        return Path(snapshot_download(repo_id, revision=revision, token=token, allow_patterns=patterns))
    except Exception as error:  # the client raises a dozen kinds of errors, and all mean the same to the user
        raise _hub_error(f"fetching {repo_id!r} from the hub", error) from None


def push(
    folder: Path, repo_id: str, private: bool, token: str | bool | None, commit_message: str, revision: str | None
) -> str:
    """Commit every file of a folder for `Enhancer.push_to_hub`; others in the repository stay."""
    from huggingface_hub import HfApi

    if repo_id.count("/") != 1:
        raise ModelError(f"{repo_id!r} is no name on the hub: expected ACCOUNT/MODEL")
    api = HfApi(token=token)
    try:
        url = str(api.create_repo(repo_id, private=private, exist_ok=True))
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message, revision=revision)
    except Exception as error:  # as in `fetch`
        raise _hub_error(f"uploading to {repo_id!r} on the hub", error) from None
    return url if revision is None else f"{url}/tree/{revision}"


def _hub_error(action: str, error: Exception) -> ModelError:
    """The error for an action that failed: what was tried, what went wrong, and what to do about it."""
    from huggingface_hub.errors import LocalEntryNotFoundError, LocalTokenNotFoundError, OfflineModeIsEnabled

    is_cache_miss = isinstance(error, LocalEntryNotFoundError)
    cause = error.__cause__ if is_cache_miss and isinstance(error.__cause__, Exception) else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    problem = one_line(cause) or type(cause).__name__
    if isinstance(cause, OfflineModeIsEnabled):
        problem = "HF_HUB_OFFLINE is set"
        advice = "unset it where there is a network"
    elif isinstance(cause, LocalTokenNotFoundError):
        advice = STATUS_ADVICE[401]
    elif status is not None:
        advice = STATUS_ADVICE.get(status, "try again later")
    elif isinstance(cause, ValueError) or getattr(cause, "errno", None):  # an invalid name or card, a full disk
        advice = ""
    else:
        advice = HUB_ADVICE
    if is_cache_miss:
        problem += ", and the cache holds no whole copy"
    return ModelError(": ".join(part for part in (action, problem, advice) if part))
