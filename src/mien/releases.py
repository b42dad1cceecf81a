"""The released models: their descriptions, scores, checksums and addresses; `mien models` lists them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from mien.cache import cache_folder, fetch_file, sha256_of
from mien.errors import ModelFileError
from mien.suggestions import did_you_mean

DEFAULT_MODEL = "mien-small"
"""The model that is used if none is named."""

_MAX_MODEL_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's scores against one ground truth, on FER2013's PublicTest, single view; shares of 1.

    accuracy_95: the 95 % interval.
    """

    faces: int
    accuracy: float
    accuracy_95: tuple[float, float]
    macro_recall: float


@dataclass(frozen=True, slots=True)
class Release:
    """A released model.

    target: `votes` or `label`, what its probabilities mean. bytes, sha256: of its own file. shares: the model beside
    it whose file holds most of its weights; empty for a file that is complete. url: the file's address; empty for a
    model that comes with mien. votes, label: scores against the majority of FER+'s raters, and against FER2013's
    original labels.
    """

    name: str
    about: str
    target: str
    parameters: int
    bytes: int
    sha256: str
    shares: str
    licence: str
    url: str
    votes: Scores
    label: Scores


@cache
def releases() -> dict[str, Release]:
    """All released models by name, the default first."""
    text = resources.files("mien.models").joinpath("releases.json").read_text("utf-8")
    found = {}
    for row in json.loads(text):
        votes, label = (Scores(**row.pop(truth)) for truth in ("votes", "label"))
        found[row["name"]] = Release(**row, votes=votes, label=label)
    return found


def shipped_models() -> dict[str, Path]:
    """The models that come with mien: name -> file."""
    folder = Path(str(resources.files("mien.models")))
    return {path.stem: path for path in sorted(folder.glob("*.onnx"))}


def fetched_models() -> dict[str, Path]:
    """The models in the cache: name -> file."""
    return {path.stem: path for path in sorted((cache_folder() / "models").glob("*.onnx"))}


def find_model(name: str) -> Path | None:
    """The file of a model by name, shipped or fetched; None where there is none."""
    return shipped_models().get(name) or fetched_models().get(name)


def list_models() -> list[str]:
    """The names that `load_model`, `Recognizer` and `-m` take here: models that come with mien or were fetched.

    Returns:
        Names, the default model first.

    Examples:
        >>> import mien
        >>> mien.list_models()[:3]
        ['mien-small', 'mien-base', 'mien-nano']
    """
    here = {**shipped_models(), **fetched_models()}
    return [name for name in releases() if name in here] + sorted(here.keys() - releases().keys())


def fetch_model(what: str, *, sha256: str = "") -> Path:
    """Fetches a released model by name, or any model file by https:// address, and returns its path in the cache.

    sha256: of the file; required for an address. `-m NAME` then finds the model. Raises ModelFileError.
    """
    if "://" in what:
        return _fetch_address(what, sha256)
    if what not in releases():
        hint = did_you_mean(what, releases())
        known = ", ".join(releases())
        raise ModelFileError(f"{what}: no such model; {hint}released: {known}; or give an https:// address")
    release = releases()[what]
    here = find_model(what)
    if here is not None and sha256_of(here) == release.sha256:
        return here
    if not release.url:
        raise ModelFileError(f"{what}: comes with mien, and its file is damaged or missing; install mien again")
    return _fetch(release.url, what, release.sha256)


def check_model(name_or_path: str) -> tuple[Path, str]:
    """The path and sha256 of a released model's file. Raises ModelFileError if the file is not the released one.

    A file that shares weights is right only beside a file of the other model that is right.
    """
    place = find_model(name_or_path) or Path(name_or_path)
    if not place.is_file():
        fetch = f"fetch it with  mien models fetch {name_or_path}" if name_or_path in releases() else "give a file"
        raise ModelFileError(f"{name_or_path}: no such model file; {fetch}")
    found = sha256_of(place)
    by_sum = {release.sha256: release.name for release in releases().values()}
    if found not in by_sum:
        raise ModelFileError(
            f"{place}: sha256 {found}: none of the released models (sums: `mien models --format json`); "
            "it was changed, or is your own"
        )
    if place.stem in releases() and by_sum[found] != place.stem:
        raise ModelFileError(f"{place}: is {by_sum[found]} under another model's name; rename it")
    if lender := releases()[by_sum[found]].shares:
        check_model(str(place.with_name(f"{lender}.onnx")))
    return place, found


def _fetch_address(url: str, sha256: str) -> Path:
    address = urlsplit(url)
    if address.scheme != "https" and (address.scheme, address.hostname) != ("http", "127.0.0.1"):
        raise ModelFileError(f"{url}: models are fetched by https:// only")
    if len(sha256) != 64 or set(sha256.lower()) - set("0123456789abcdef"):
        raise ModelFileError(f"{url}: give the file's checksum with  --sha256  and 64 hexadecimal digits")
    name = address.path.rpartition("/")[2]
    stem = name.removesuffix(".onnx")
    if not name.endswith(".onnx") or not stem or stem.startswith("."):
        raise ModelFileError(f"{url}: expected the address of a .onnx file")
    if stem in releases():
        raise ModelFileError(f"{url}: {stem} is a released model's name; give the file another one")
    return _fetch(url, stem, sha256.lower())


def _fetch(url: str, name: str, sha256: str) -> Path:
    place = cache_folder() / "models" / f"{name}.onnx"
    advice = "try again, or get the file elsewhere and give its path"
    return fetch_file(url, place, sha256=sha256, max_bytes=_MAX_MODEL_BYTES, failure=ModelFileError, advice=advice)
