"""Download the folder of a model from the Hugging Face hub, and upload it; every failure is an error of one line."""

from __future__ import annotations

from pathlib import Path

from phonemi.errors import ModelError, one_line

NETWORK = "is there a network? A proxy is set with HTTPS_PROXY, another hub with HF_ENDPOINT"
ADVICE = {  # by HTTP status
    401: "log in with `hf auth login` or give a token; the hub answers the same for what does not exist",
    403: "the account or the token lacks the right: ask for access, or use a token that may write",
    404: "check the name and the revision",
}


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
        advice = ADVICE[401]
    elif status is not None:
        advice = ADVICE.get(status, "try again later")
    elif isinstance(cause, ValueError) or getattr(cause, "errno", None):  # an invalid name or card, a full disk
        advice = ""
    else:
        advice = NETWORK
    if is_cache_miss:
        problem += ", and the cache holds no whole copy"
    return ModelError(": ".join(part for part in (action, problem, advice) if part))
