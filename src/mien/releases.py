"""The models that mien's authors released: what they are, how good, and where their files lie; `mien models`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from mien.cache import cache_folder, fetch_file, sha256_of
from mien.errors import ModelFileError

_MAX_MODEL_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class Ruler:
    """How good a model is by one ruler, on FER2013's PublicTest, one view: shares of 1.

    accuracy_95: the interval. recall: of expressions that are rare, by their names; empty where the ruler has none.
    """

    faces: int
    accuracy: float
    accuracy_95: tuple[float, float]
    macro_recall: float
    rare_recall: dict[str, float]


@dataclass(frozen=True, slots=True)
class Release:
    """A released model.

    learnt: `votes` or `label`, what its probabilities mean. url: where it can be fetched from; empty for one that comes
    with mien. votes, label: how good it is by the majority of FER+'s raters, and by FER2013's original label.
    """

    name: str
    about: str
    learnt: str
    parameters: int
    bytes: int
    sha256: str
    licence: str
    url: str
    votes: Ruler
    label: Ruler


@cache
def releases() -> dict[str, Release]:
    """All of them by name, the default first."""
    text = resources.files("mien.models").joinpath("releases.json").read_text("utf-8")
    found = {}
    for row in json.loads(text):
        votes, label = (Ruler(**row.pop(ruler)) for ruler in ("votes", "label"))
        found[row["name"]] = Release(**row, votes=votes, label=label)
    return found


def shipped_models() -> dict[str, Path]:
    """The models that come with mien: name -> file."""
    folder = Path(str(resources.files("mien.models")))
    return {path.stem: path for path in sorted(folder.glob("*.onnx"))}


def fetched_models() -> dict[str, Path]:
    """The models that were fetched into the cache: name -> file."""
    return {path.stem: path for path in sorted((cache_folder() / "models").glob("*.onnx"))}


def find_model(name: str) -> Path | None:
    """The file of a model by name, shipped or fetched; None where there is none."""
    return shipped_models().get(name) or fetched_models().get(name)


def list_models() -> list[str]:
    """The names that `open_model`, `Recognizer` and `-m` take here: models that come with mien or were fetched.

    Returns:
        Names, the default model first.

    Example:
        >>> import mien
        >>> mien.list_models()[:3]
        ['mien-small', 'mien-base', 'mien-nano']
    """
    here = {**shipped_models(), **fetched_models()}
    return [name for name in releases() if name in here] + sorted(here.keys() - releases().keys())


def fetch_model(what: str, *, sha256: str = "") -> Path:
    """Fetches a released model by name, or any model file by https:// address, and returns where it lies.

    sha256: of the file, for an address. It is then known by its name everywhere: `-m NAME`. Raises ModelFileError.
    """
    if "://" in what:
        return _fetch_address(what, sha256)
    if what not in releases():
        raise ModelFileError(f"{what}: no such model; released: {', '.join(releases())}; or give an https:// address")
    release = releases()[what]
    here = find_model(what)
    if here is not None and sha256_of(here) == release.sha256:
        return here
    if not release.url:
        raise ModelFileError(f"{what}: comes with mien, and its file is damaged or missing; install mien again")
    return _fetch(release.url, what, release.sha256)


def check_model(name_or_path: str) -> tuple[Path, str]:
    """The file and its sha256, which is that of the release by this name. Raises ModelFileError where it is not."""
    place = find_model(name_or_path) or Path(name_or_path)
    if not place.is_file():
        fetch = f"fetch it with  mien models fetch {name_or_path}" if name_or_path in releases() else "give a file"
        raise ModelFileError(f"{name_or_path}: no such model file; {fetch}")
    found = sha256_of(place)
    by_sum = {release.sha256: release.name for release in releases().values()}
    if found not in by_sum:
        raise ModelFileError(
            f"{place}: sha256 {found}: none of the released models (sums: `mien models --json`); "
            "it was changed, or is your own"
        )
    if place.stem in releases() and by_sum[found] != place.stem:
        raise ModelFileError(f"{place}: is {by_sum[found]} under another model's name; rename it")
    return place, found


def _fetch_address(url: str, sha256: str) -> Path:
    address = urlsplit(url)
    if address.scheme != "https" and (address.scheme, address.hostname) != ("http", "127.0.0.1"):
        raise ModelFileError(f"{url}: models are fetched by https:// only")
    if len(sha256) != 64 or set(sha256.lower()) - set("0123456789abcdef"):
        raise ModelFileError(f"{url}: say which file is expected, with  --sha256  and its 64 hexadecimal digits")
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
