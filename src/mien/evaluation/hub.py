"""Model files on the Hugging Face Hub: `mien.push_model`, `mien.pull_model`. The model card is the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mien.cache import cache_folder
from mien.errors import MissingExtraError, ModelFileError
from mien.files import make_folder, write_bytes
from mien.model_file import ModelFile, load_model
from mien.releases import releases

_LICENCES = {"MIT": "mit", "Apache-2.0": "apache-2.0"}
"""What the hub calls licences; others are `other`, with their name."""


def push_model(
    model: str | Path | ModelFile,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "",
) -> str:
    """Uploads a model file to a repository of the Hugging Face Hub, with its card as README.md; returns the address.

    Args:
        model: A model file, its name, or an opened one. Without a card in it, the README has its metadata.
        repo: OWNER/NAME; it is made if it does not exist.
        private: Whether a new repository is private.
        token: Of the hub; None takes that of `hf auth login` or of HF_TOKEN.
        message: Of the commit; empty names the model.

    Raises:
        ModelFileError: The model can't be used, or the hub refuses or can't be reached.
        MissingExtraError: The extra [huggingface] is not installed.

    Examples:
        >>> import mien
        >>> mien.push_model("runs/mine/mine.onnx", "me/faces")  # doctest: +SKIP
        'https://huggingface.co/me/faces'
    """
    hub = _hub()
    opened = model if isinstance(model, ModelFile) else load_model(str(model))
    files = {f"{opened.info.name}.onnx": opened.path.read_bytes(), "README.md": readme(opened).encode()}
    operations = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]
    api = hub.HfApi(token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        api.create_commit(repo, operations, commit_message=message or f"{opened.info.name}, by mien")
    except Exception as error:  # its client raises many unrelated types
        raise ModelFileError(f"{repo}: can't be pushed to ({_first_line(error)}); {_ADVICE}") from error
    return f"{api.endpoint}/{repo}"


def pull_model(repo: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """Downloads the model file of a repository into the cache; `-m NAME` then finds it by the name of the file.

    Args:
        repo: OWNER/NAME, or OWNER/NAME/FILE.onnx where it has several.
        revision: A branch, tag or commit; None takes the newest.
        token: As in `push_model`.

    Returns:
        The file in the cache, checked to be a model of mien.

    Raises:
        ModelFileError: There is no such repository or file, it is no model of mien, or it has a released model's name.
        MissingExtraError: The extra [huggingface] is not installed.
    """
    hub = _hub()
    owner, _, rest = repo.partition("/")
    name, _, file = rest.partition("/")
    try:
        if not file:
            found = hub.HfApi(token=token).list_repo_files(f"{owner}/{name}", revision=revision)
            files = [path for path in found if path.endswith(".onnx")]
            if len(files) != 1:
                has = ", ".join(files) or "none"
                raise ModelFileError(f"{repo}: expected one model file (.onnx); it has {has}: give {repo}/FILE.onnx")
            file = files[0]
        place = Path(hub.hf_hub_download(f"{owner}/{name}", file, revision=revision, token=token))
    except ModelFileError:
        raise
    except Exception as error:
        raise ModelFileError(f"{repo}: can't be pulled ({_first_line(error)}); {_ADVICE}") from error
    stem = Path(file).stem
    if stem in releases():
        raise ModelFileError(f"{repo}: {stem} is a released model's name; rename the file there")
    ModelFile(place)
    kept = cache_folder() / "models" / f"{stem}.onnx"
    make_folder(kept.parent)
    write_bytes(kept, place.read_bytes())
    return kept


def readme(model: ModelFile) -> str:
    """The card with the hub's front matter: licence, tags, what it is for."""
    info = model.info
    first = info.licence.partition(";")[0].strip()
    licence = _LICENCES.get(first, "other")
    head = ["---", "library_name: mien", "pipeline_tag: image-classification", f"license: {licence}"]
    if licence == "other" and first:
        head.append(f"license_name: {first!r}")
    head += ["tags:", "- onnx", "- facial-expression-recognition", "---", ""]
    use = f'```py\nimport mien\n\nmien.predict("photo.jpg", model=mien.pull_model("OWNER/{info.name}"))\n```\n'
    facts = f"# {info.name}\n\nLabels: {', '.join(info.labels)}. Data: {info.data}. Licence: {info.licence}.\n"
    return "\n".join(head) + (model.card or facts) + f"\n## Use\n\n{use}"


_ADVICE = "check the name, the token (`hf auth login`) and the connection"


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("huggingface", "the Hugging Face Hub") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
