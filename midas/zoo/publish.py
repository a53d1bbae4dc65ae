"""Put a model folder on the Hugging Face hub."""

from pathlib import Path

from midas.io.errors import MidasError, reason
from midas.zoo.model_folder import open_model_folder


def push(folder: Path, repo: str) -> str:
    """Put a model folder on the Hugging Face hub, as it is; return its address.

    The layout is timm's own. A repository ``user/name`` that does not exist is created, private.
    """
    from huggingface_hub import HfApi, get_token

    open_model_folder(folder)  # a broken folder must not be sent
    if get_token() is None:
        raise MidasError("push: no Hugging Face token found; run `hf auth login` or set HF_TOKEN")
    api = HfApi()
    ignored = ["latency.json", ".*"]
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, ignore_patterns=ignored))
    except Exception as error:  # those of the hub and of the connection have no common class
        problem = f"the hub refused or is out of reach ({reason(error)})"
        raise MidasError(f"push: {repo}: {problem}") from error
