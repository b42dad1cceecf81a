"""From paths as lists write them to files of a tree: `ImagePaths`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from mien.data.reading.reading import Scan
from mien.data.reading.trees import Tree, base_name, folder_of, leads_out

_FOLDERS = ("", "images/", "Images/", "image/", "img/", "imgs/", "faces/", "data/")
_ADDRESS = re.compile(r"\w[\w+.-]*://")  # http, s3, gs, file: the files may be here all the same


def paths_of(scan: Scan, listed: str) -> ImagePaths:
    """How paths in a list are found: from the folder that the user names, or else from the list's own."""
    return ImagePaths(scan.image_tree, "" if scan.choices.root else folder_of(listed))


def names_by_last(tree: Tree) -> dict[str, list[str]]:
    """The files of a tree by their last name in lower case, and by it without its suffix, a dot in its place."""
    kept: dict[str, dict[str, list[str]]] = vars(tree)  # with the tree: many lists are looked at
    if "names_by_last" not in kept:
        found: dict[str, list[str]] = {}
        for name in tree.names:
            last = base_name(name).lower()
            found.setdefault(last, []).append(name)
            found.setdefault(last.rpartition(".")[0] + ".", []).append(name)
        kept["names_by_last"] = found
    return kept["names_by_last"]


@dataclass(frozen=True)
class ImagePaths:
    """From paths as lists write them to files of a tree: relative, absolute, of Windows, addresses, without a suffix.

    tree: where the images are. folder: of the list in it, '' or with a slash at its end.
    """

    tree: Tree
    folder: str

    def find(self, written: str) -> str | None:
        """The file that a path means, a name in the tree; None where none, or more than one, does."""
        found = self.fitting(written)
        return found[0] if len(found) == 1 else None

    def fitting(self, written: str) -> list[str]:
        """The files that a path may mean: the one just there, else those of its last name, best below the list."""
        path = written.strip().strip("\"'").replace("\\", "/")
        while path.startswith("./"):
            path = path[2:]
        if not path or path.endswith("/"):
            return []
        if _ADDRESS.match(path):
            path = _ADDRESS.sub("/", path).partition("?")[0]
        elif not leads_out(path):
            for base in _FOLDERS:
                if self.tree.has(self.folder + base + path):
                    return [self.folder + base + path]
        for form in dict.fromkeys((path, unquote(path))):
            last = base_name(form).lower()
            for key in (last, *([] if "." in last else [f"{last}."])):
                found = [
                    c for c in names_by_last(self.tree).get(key, []) if self._fits(c, form, stem=key.endswith("."))
                ]
                if found:
                    return [c for c in found if c.startswith(self.folder)] or found
        return []

    def _fits(self, candidate: str, path: str, *, stem: bool) -> bool:
        """Whether a file of the same last name is the one that a path means: one path must end with the other."""
        inside = candidate.removeprefix(self.folder).lower()
        inside = inside.rpartition(".")[0] if stem else inside
        wanted = path.lower()
        if leads_out(path):
            return wanted.endswith("/" + inside)
        if wanted.endswith("/" + inside):  # from a folder above the tree: with its name, or another folder in common
            above = wanted.removesuffix("/" + inside).rpartition("/")[2]
            return "/" in inside or above == self._root
        return inside.endswith("/" + wanted) or inside == wanted

    @property
    def _root(self) -> str:
        return self.tree.where("").rstrip("/\\").rpartition("/")[2].lower()
