"""Files under one root, a folder or an archive, and the information in their names: `Tree`, `Folder`."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.images import read_image
from mien.labels import EIGHT, canonical

_SPLIT_WORDS = {
    word: split
    for split, words in {
        "train": "train training trainset trn entrenamiento apprentissage entrainement entraînement trainingsdaten "
        "treino treinamento addestramento 训练 训练集 訓練 訓練集 학습",
        "validation": "publictest public validation validate valid val dev development eval evaluation valset "
        "validacion validación validierung validação validazione 验证 验证集 驗證集 検証 검증",
        "test": "privatetest private test testing tests tst holdout testset prueba pruebas testdaten teste "
        "测试 测试集 測試集 テスト 테스트",
    }.items()
    for word in words.split()
}
_WHOLE_NAMES = {"public", "private", "valid", "development", "eval", "evaluation"}
"""Words that mean a split only alone or beside words of `_SPLIT_FILLER`: `private photos` is no test split."""

_SPLIT_FILLER = {
    "set", "data", "dataset", "images", "image", "imgs", "faces", "aligned", "new", "split", "folder", "fold", "part",
    "class", "list", "label", "labels", "annotation", "annotations", "metadata",
    "fer", "fer2013", "ferplus", "raf", "rafdb", "affectnet", "sfew", "afew",
}  # fmt: skip
_NO_SPLIT = {"subject", "person", "people", "participant", "user", "id", "not", "no", "without"}
"""Words beside which `test` or `train` means no split: `test subject 3`."""

_MOST_WORDS = 5  # a longer text is a sentence

_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

CONTAINERS = frozenset(
    {"images", "image", "imgs", "img", "data", "dataset", "datasets", "media", "upload", "uploads", "jpegimages"}
    | {"pictures", "photos", "files", "obj_train_data"}
)
"""Folders that hold images and say nothing of them: a path may leave them out, or have others in their place."""

_LEFTOVERS = {
    "thumbs.db", "desktop.ini", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found",
}  # fmt: skip
_ROOTED = re.compile(r"[/\\]|[A-Za-z]:")


class Tree(Protocol):
    """Files under one root, called by their path from there, with forward slashes."""

    @property
    def names(self) -> Sequence[str]:
        """All files but hidden ones, sorted."""

    @property
    def folders(self) -> Sequence[str]:
        """All folders but hidden ones, sorted; empty ones too."""

    def where(self, name: str) -> str:
        """How a message calls a file."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def size(self, name: str) -> int:
        """How many bytes a file has."""

    def open(self, name: str) -> BinaryIO:
        """A file to read. Raises DataError."""

    def image(self, name: str) -> NDArray[np.uint8]:
        """An image as uint8 (H, W, 3), RGB. Raises ImageError that begins with `where(name)`."""

    def stamp(self, name: str) -> str:
        """A text that changes with the file: its size and time."""


@dataclass(frozen=True)
class Folder:
    """A folder as a `Tree`. Links to folders are entered where they lead out of the root, each target once.

    A link of a split right in the root may lead anywhere. A link to nothing counts as a file that can't be read.
    """

    root: Path

    @cached_property
    def _listing(self) -> tuple[list[str], list[str]]:
        files: list[str] = []
        folders: list[str] = []
        todo = [""]
        entered = {self.root.resolve()}
        while todo:
            prefix = todo.pop()
            try:
                with os.scandir(self.root / prefix) as entries:
                    for entry in entries:
                        if hidden(entry.name):
                            continue
                        linked = entry.is_symlink()
                        if entry.is_dir():
                            split = not prefix and split_named(entry.name) is not None
                            if not linked or split or _leads_elsewhere(Path(entry.path).resolve(), entered):
                                folders.append(prefix + entry.name)
                                todo.append(f"{prefix}{entry.name}/")
                        elif entry.is_file() or (linked and not Path(entry.path).exists()):
                            files.append(prefix + entry.name)
            except OSError as error:
                raise DataError(
                    f"{self.root / prefix}: can't be listed ({error.strerror}); check its permissions"
                ) from error
        return sorted(files), sorted(folders)

    @property
    def names(self) -> Sequence[str]:
        """All files but hidden ones, sorted."""
        return self._listing[0]

    @property
    def folders(self) -> Sequence[str]:
        """All folders but hidden ones, sorted."""
        return self._listing[1]

    def where(self, name: str) -> str:
        """The file's path."""
        return str(self.root / name)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        try:
            return (self.root / name).is_file()
        except (OSError, ValueError):  # a name too long, or with a NUL
            return False

    def size(self, name: str) -> int:
        """How many bytes a file has."""
        try:
            return (self.root / name).stat().st_size
        except (OSError, ValueError):
            return 0

    def open(self, name: str) -> BinaryIO:
        """A file to read."""
        try:
            return (self.root / name).open("rb")
        except OSError as error:
            raise DataError(f"{self.where(name)}: can't be read ({error.strerror}); check the file") from error

    def image(self, name: str) -> NDArray[np.uint8]:
        """An image as uint8 (H, W, 3), RGB."""
        return read_image(f"{self.root}/{name}")

    def stamp(self, name: str) -> str:
        """Size and time of the file."""
        try:
            status = os.stat(f"{self.root}/{name}")  # noqa: PTH116 (three times as fast, and this runs a million times)
        except (OSError, ValueError):  # its absence will be a problem of its own
            return "-"
        return f"{status.st_size}-{status.st_mtime_ns}"


def _leads_elsewhere(target: Path, entered: set[Path]) -> bool:
    """Whether a link's target neither lies in one of the folders that were entered, nor holds one; it is entered then.

    So no image is read twice, and no link is followed for ever.
    """
    if any(target.is_relative_to(place) or place.is_relative_to(target) for place in entered):
        return False
    entered.add(target)
    return True


def is_split_word(text: str) -> bool:
    """Whether a text is nothing but the word of a split: Training, PublicTest, val."""
    return re.sub(r"[\W_]+", "", text.lower()) in _SPLIT_WORDS


@lru_cache(1 << 16)  # lists and folders name the same ones over and over
def split_named(name: str) -> str | None:
    """train, validation or test for what data sets call them: Training, PublicTest, val_set, 01_train, my_test_48x48.

    None for other words, and for those of two splits.
    """
    bare = re.sub(r"[\W_]+", "", name.lower())
    if bare in _SPLIT_WORDS:
        return _SPLIT_WORDS[bare]
    words = [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", name))]
    pairs = {a + b for a, b in pairwise(words)} & {"publictest", "privatetest"}
    if pairs:
        return _SPLIT_WORDS[pairs.pop()]
    splits = [word for word in words if word in _SPLIT_WORDS]
    others = {word for word in words if word not in _SPLIT_WORDS}
    meant = {_SPLIT_WORDS[word] for word in splits if others <= _SPLIT_FILLER or word not in _WHOLE_NAMES}
    if others & _NO_SPLIT or len(words) > _MOST_WORDS or any(canonical(word) in EIGHT for word in others):
        return None
    return meant.pop() if len(meant) == 1 else None


def is_train_and_validation(name: str) -> bool:
    """Whether a name means both: trainval, train_and_val."""
    words = {word.lower() for word in _WORD.findall(_CAMEL.sub(" ", name))}
    return bool(words & {"trainval", "trainvalid"}) or {"train", "validation"} <= {_SPLIT_WORDS.get(w) for w in words}


def leads_out(name: str) -> bool:
    """Whether a path would lead out of the folder that it is relative to: absolute, of a drive, or with `..`."""
    return bool(_ROOTED.match(name)) or ".." in name.replace("\\", "/").split("/")


def hidden(name: str) -> bool:
    """Whether a file or folder is one of those that tools leave behind (.ipynb_checkpoints, __MACOSX, Thumbs.db)."""
    return name.startswith((".", "__")) or name.lower() in _LEFTOVERS


def base_name(name: str) -> str:
    """A path's last part."""
    return name.rpartition("/")[2]


def folded(name: str) -> str:
    """A name as names are compared: in lower case, and each accent one character with its letter, unlike on a Mac."""
    return (name if name.isascii() else unicodedata.normalize("NFC", name)).lower()


def folder_of(name: str) -> str:
    """A file's folder, '' or with a slash at its end."""
    return name[: name.rfind("/") + 1]


def first_of(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, for a message."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def suffix_of(name: str) -> str:
    """A file name's suffix in lower case, with its dot; '' where it has none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (runs a million times)


def printable(name: str) -> str:
    """A file name as text that can be written: bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
