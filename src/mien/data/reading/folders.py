"""Class folders: what the folders above an image mean, a split, a class, a person, or nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mien.data.reading.lists import splits_beside
from mien.data.reading.reading import Found, Scan
from mien.data.reading.sources import Record, found_files
from mien.data.reading.trees import CONTAINERS, first_of, is_train_and_validation, split_named
from mien.data.reading.unread import unread_lists
from mien.data.source import split_rank
from mien.errors import DataError
from mien.labels import EIGHT, canonical

MAX_OWN_CLASSES = 100
"""More sibling folders than this, none of them named after an expression, are albums, not classes."""

_PERSON = re.compile(
    r"((s|p|sub|subj|subject|person|participant|proband|actor|user|id)[ _-]*)?\d+", re.IGNORECASE
)  # how folders of people are called, where nothing else tells

_PART = re.compile(
    r"(k?fold|cv|part|chunk|shard|batch|split)[ _-]*\d+|original|raw|aligned|processed|cropped|resized|aug(mented)?|"
    r"gr[ae]y|colou?r|rgb", re.IGNORECASE,
)  # fmt: skip
"""How folders of parts, and of versions of the same images, are called, which are no people."""


@dataclass(slots=True)
class Node:
    """A folder: its images right in it, and its folders, empty ones too."""

    images: list[str] = field(default_factory=list)
    folders: dict[str, Node] = field(default_factory=dict)
    count: int = 0  # of images in it and below

    def filled(self) -> dict[str, Node]:
        """The folders that hold images, in or below them."""
        return {name: node for name, node in self.folders.items() if node.count}

    def mostly_below(self) -> bool:
        """Whether most of its images lie in its folders: one that lies beside them changes nothing."""
        return 2 * len(self.images) < self.count

    def all_images(self) -> Iterator[str]:
        """The images in it and below, in order of their names."""
        yield from self.images
        for name in sorted(self.folders):
            yield from self.folders[name].all_images()


@dataclass(frozen=True, slots=True)
class Placed:
    """Images under one folder that all mean the same: their split, class and person as written, '' where unknown."""

    images: Sequence[str]
    split: str = ""
    label: str = ""
    identity: str = ""


@dataclass(slots=True)
class _Walk:
    """What was found on the way down. empty: class folders without images. own: classes that are no expressions, which
    lie in the folders of several splits or of one. misplaced: folders of a class in that of another. parts: folders
    that are neither splits nor people.
    """

    scan: Scan
    placed: list[Placed] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    own: set[str] = field(default_factory=set)
    misplaced: list[str] = field(default_factory=list)
    parts: set[str] = field(default_factory=set)


def find_folders(scan: Scan, *, own_classes: bool) -> Found | None:
    """Folders of classes, with folders of splits or people above or below them, or none.

    own_classes: folders whose names are no expressions are classes too; False: only where one names an expression.
    """
    if own_classes and scan.files_of_folders:
        return None
    top = node_of(scan.images, scan.tree.folders)
    walk = _Walk(scan)
    _descend(walk, top, "", Placed(()), own_classes)
    labelled = [p for p in walk.placed if p.label]
    if not labelled:
        return None
    _check_splits(walk)
    labels = scan.labels({p.label for p in labelled}, str(scan.root), as_names=True)
    people = len({p.identity for p in labelled if p.identity}) > 1
    columns = {"identity": object} if people else {}
    records = [
        Record(name, walk.splits.get(p.split, ""), p.label, (p.identity,) if people else ())
        for p in labelled
        for name in p.images
    ]
    listed, words, used = splits_beside(scan) if not any(walk.splits.values()) else ({}, {}, {})
    if listed:
        records = [replace(r, split=listed.get(r.name, "")) for r in records]
        walk.splits |= words
    notes = [f"the splits are from {', '.join(sorted(used))}"] if used else []
    notes += [f"{name}: {count:,} lines name no image of the set" for name, count in sorted(used.items()) if count]
    notes += [f"the class folder {name} holds no images" for name in walk.empty]
    notes += [f"{name} lies in the folder of another class; its images are left out" for name in walk.misplaced]
    if walk.parts:
        notes.append(f"the folders {first_of(sorted(walk.parts))} are read together; they are no splits and no people")
    if people:
        names = sorted({p.identity for p in labelled if p.identity})
        shown = first_of(names)
        notes.append(f"the folders {shown} are kept as the column identity, as people: they stay together when "
                     "splits are made")  # fmt: skip
    title = "class folders with splits" if any(walk.splits.values()) else "class folders without splits"
    records.sort(key=lambda r: split_rank(r.split))  # stable: files of a split stay in their order
    stray = "lies in no folder of a split and a class" if walk.splits else "lies in no class folder"
    return found_files(scan, records, labels, title, "the folders' names", splits=walk.splits, notes=notes, used=used,
                       stray=stray, extra=columns)  # fmt: skip


def find_loose(scan: Scan) -> Found | None:
    """Images without labels, in folders of splits or in none."""
    if not scan.images:
        return None
    top = node_of(scan.images, scan.tree.folders)
    while len(top.filled()) == 1 and not top.images and split_of(scan, next(iter(top.filled()))) is None:
        (top,) = top.filled().values()
    splits = {name: split for name in top.filled() if (split := split_of(scan, name))}
    inside = {name: split for word, split in splits.items() for name in top.folders[word].all_images()}
    records = [Record(name, inside.get(name, "")) for name in scan.images]
    title = "loose images in split folders" if splits else "loose images"
    labels = scan.labels((), str(scan.root))
    folders = sorted({part for name in scan.images for part in name.split("/")[:-1]} - set(splits))
    notes = ["the images have no labels"]
    if folders:
        shown = first_of(folders, 5)
        notes = [
            f"no labels: the folders {shown} are not read as classes; --labels {folders[0]}=NAME,... says they are"
        ]
    for folder, file in list(scan.files_of_folders.items())[:1]:
        notes = [f"no labels: folders such as {folder} are no classes, as files such as {file} are named after them; "
                 "mien does not read these files"]  # fmt: skip
    notes += unread_lists(scan)
    return found_files(scan, records, labels, title, "", splits=splits, notes=notes)


def node_of(images: Sequence[str], folders: Sequence[str]) -> Node:
    """The tree of folders that these images lie in; `folders` may be empty ones."""
    top = Node()
    nodes = {"": top}

    def node(path: str) -> Node:
        if path not in nodes:
            above, _, name = path.rpartition("/")
            nodes[path] = node(above).folders.setdefault(name, Node())
        return nodes[path]

    for folder in folders:
        node(folder)
    for image in images:
        node(image.rpartition("/")[0]).images.append(image)
    _count(top)
    return top


def _count(node: Node) -> int:
    node.count = len(node.images) + sum(_count(child) for child in node.folders.values())
    return node.count


def split_of(scan: Scan, name: str) -> str | None:
    """The split that a folder's name means, also as the user says; None where it means none.

    trainval is train: what is held out lies elsewhere then.
    """
    if name in scan.choices.split_map:
        return scan.choices.split_map[name]
    return split_named(name) or ("train" if is_train_and_validation(name) else None)


def is_expression(name: str) -> bool:
    """Whether a name is that of an expression, in any spelling."""
    return canonical(name) in EIGHT


def _descend(walk: _Walk, node: Node, path: str, above: Placed, own: bool) -> None:
    """Finds what the folders right below `node` are, and goes on below them."""
    node = _without_flat_splits(walk.scan, node)
    children = node.filled()
    splits = {name: split for name in node.folders if (split := split_of(walk.scan, name)) is not None}
    both = {name: _split_and_class(walk.scan, name) for name in children}
    agree = not above.split or {split_of(walk.scan, pair[0]) for pair in both.values() if pair} == {
        split_of(walk.scan, above.split)
    }
    if not above.label and both and all(both.values()) and agree:
        _place_both(walk, node, both, above)
    elif splits and not above.split and not (above.label and set(children) - set(splits)):
        _descend_splits(walk, node, splits, path, above, own)
    elif above.label:
        walk.placed.append(Placed(list(_of_one_class(walk, node, path, above.label)), above.split, above.label,
                                  above.identity))  # fmt: skip
    elif _are_classes(walk, node, above, own):
        _refuse_twin_classes(walk, sorted(children), path)
        people = _recurring([child.filled() for child in children.values()])
        some_named = any(is_expression(name) for name in children)
        for name, child in sorted(node.folders.items()):
            if some_named and name.lower() in CONTAINERS:
                continue  # images beside the classes, which a list may name
            if child.count:
                _descend_class(walk, child, f"{path}{name}/", _with(above, label=name), people, own)
            elif is_expression(name):
                walk.empty.append(f"{path}{name}")
    elif len(children) == 1 and node.mostly_below():
        ((name, child),) = children.items()
        _descend(walk, child, f"{path}{name}/", above, own)
    elif len(children) > 1 and _are_people(walk, children, own):
        parts = all(_PART.fullmatch(name) for name in children)
        if parts and any(split_of(walk.scan, inner) for child in children.values() for inner in child.folders):
            raise DataError(
                f"{walk.scan.tree.where(path)}: {first_of(sorted(children))} have splits of their own, so an image may "
                f"be in several of them; give one, such as {path}{min(children)}"
            )
        walk.parts |= set(children) if parts else set()
        for name in sorted(children):
            _descend(walk, children[name], f"{path}{name}/", above if parts else _with(above, identity=name), own)


def _descend_splits(walk: _Walk, node: Node, splits: Mapping[str, str], path: str, above: Placed, own: bool) -> None:
    if not above.label:
        _refuse_twin_splits(walk, splits, path)
        walk.own |= {name for split in splits for name in node.folders[split].filled()}
    for name, split in splits.items():
        child = node.folders[name]
        if child.count:
            walk.splits[name] = split
            _descend(walk, child, f"{path}{name}/", _with(above, split=name), own)
        else:
            walk.empty.append(f"{path}{name}")


def _descend_class(walk: _Walk, node: Node, path: str, above: Placed, people: set[str], own: bool) -> None:
    """The images of one class; folders below it that are below other classes too are people."""
    inner = node.filled()
    if above.identity or not people & set(inner):
        _descend(walk, node, path, above, own)
        return
    if node.images:
        walk.placed.append(Placed(node.images, above.split, above.label))
    for name in sorted(inner):
        identity = name if name in people else ""
        _descend(walk, inner[name], f"{path}{name}/", _with(above, identity=identity), own)


def _without_flat_splits(scan: Scan, node: Node) -> Node:
    """The node without folders such as `test` that hold images only, where classes lie beside them: happy, sad, test.

    Their images have no label, and are reported.
    """
    splits = {name for name in node.folders if split_of(scan, name) is not None}
    rest = {name: child for name, child in node.folders.items() if name not in splits}
    if not any(is_expression(name) and child.count for name, child in rest.items()):
        return node
    if any(node.folders[name].folders for name in splits):
        return node
    return Node(node.images, rest, len(node.images) + sum(child.count for child in rest.values()))


def _split_and_class(scan: Scan, name: str) -> tuple[str, str] | None:
    """Split and class as written, of a folder that is named after both: train_happy, Sad-Test; else None."""
    words = [word for word in re.split(r"[\W_]+", name) if word]
    for i in range(1, len(words)):
        first, last = "_".join(words[:i]), "_".join(words[i:])
        for split, label in ((first, last), (last, first)):
            if split_of(scan, split) and is_expression(label):
                return split, label
    return None


def _of_one_class(walk: _Walk, node: Node, path: str, label: str) -> Iterator[str]:
    """The images in a class folder and below it, without folders of another expression, which are noted."""
    yield from node.images
    for name, child in sorted(node.filled().items()):
        if is_expression(name) and canonical(name) != canonical(label):
            walk.misplaced.append(f"{path}{name}")
        else:
            yield from _of_one_class(walk, child, f"{path}{name}/", label)


def _place_both(walk: _Walk, node: Node, both: Mapping[str, tuple[str, str] | None], above: Placed) -> None:
    """Places the images of folders that are named after a split and a class."""
    seen: dict[tuple[str | None, str], str] = {}
    for name, pair in sorted(both.items()):
        word, label = pair or ("", "")
        split = split_of(walk.scan, word)
        key = (split, canonical(label))
        if key in seen:
            raise DataError(f"{walk.scan.root}: '{seen[key]}' and '{name}' are both {split} and {key[1]}; rename one")
        seen[key] = name
        walk.splits[above.split or word] = split or ""
        images = list(node.folders[name].all_images())
        walk.placed.append(_with(above, images=images, split=above.split or word, label=key[1]))


def _with(above: Placed, *, images: Sequence[str] = (), split: str = "", label: str = "", identity: str = "") -> Placed:
    return Placed(images, split or above.split, label or above.label, identity or above.identity)


def _recurring(folders: Sequence[Mapping[str, Node]]) -> set[str]:
    """The names that are in several of these folders, those of splits left out."""
    counts = Counter(name for names in folders for name in names)
    return {name for name, count in counts.items() if count > 1 and split_named(name) is None}


def _are_classes(walk: _Walk, node: Node, above: Placed, own: bool) -> bool:
    """Whether the folders right below a node are classes: expressions, those that the user names, or any others."""
    filled = node.filled()
    nested = filled and all(split_of(walk.scan, name) is not None for name in filled)  # Train/Train_Aligned_Faces
    if any(is_expression(name) for name in node.folders) and not nested:
        return True
    chosen = walk.scan.choices.labels
    if chosen and any(name in chosen.renamed for name in filled):
        return True
    if not own or not filled or not node.mostly_below() or len(filled) > MAX_OWN_CLASSES:
        return False
    if above.split and len(walk.own) > 1:
        return bool(walk.own & set(filled)) and not _are_people(walk, filled, own)
    if all(_PERSON.fullmatch(name) and not name.isdecimal() for name in filled):
        return False
    return len(filled) > 1 and not _are_people(walk, filled, own)


def _are_people(walk: _Walk, children: Mapping[str, Node], own: bool) -> bool:
    """Whether sibling folders are people: folders of classes lie in them.

    Raises DataError where both the folders and those in them could be the classes.
    """
    inner = [set(child.filled()) for child in children.values() if child.mostly_below()]
    names = set().union(*inner)
    if any(_holds_classes(child) for child in children.values()):
        return True
    chosen = walk.scan.choices.labels
    if chosen and names & set(chosen.renamed):
        return True
    if not own or len(inner) < len(children) or not names:
        return False
    outside, inside = (all(_PERSON.fullmatch(name) for name in level) for level in (children, names))
    if outside != inside:
        return outside
    if _recurring([child.filled() for child in children.values()]):
        first, second = sorted(children)[0], sorted(names)[0]
        raise DataError(
            f"{walk.scan.root}: folders such as {second} lie in several such as {first}, and no name is that of an "
            f"expression: which are the classes? Say  --labels {second}={second},...  or  --labels {first}={first},..."
        )
    return False


def _holds_classes(node: Node) -> bool:
    """Whether a folder named after an expression lies below, at any depth."""
    return any(is_expression(name) or _holds_classes(child) for name, child in node.filled().items())


def _refuse_twin_classes(walk: _Walk, names: Sequence[str], path: str) -> None:
    """Raises DataError where two sibling folders mean one class and the user does not say so."""
    chosen = walk.scan.choices.labels
    seen: dict[str, str] = {}
    for name in names:
        meaning = canonical(name)
        if meaning in seen and not (chosen and name in chosen.renamed):
            raise DataError(
                f"{walk.scan.tree.where(path)}: '{seen[meaning]}' and '{name}' are both '{meaning}'; rename one, "
                f"or merge them with  --labels '{seen[meaning]}={meaning},{name}={meaning}'"
            )
        seen[meaning] = name


def _refuse_twin_splits(walk: _Walk, splits: Mapping[str, str], path: str) -> None:
    seen: dict[str, str] = {}
    for name, split in splits.items():
        if split and split in seen and not {name, seen[split]} <= set(walk.scan.choices.split_map):
            raise DataError(f"{walk.scan.tree.where(path)}: '{seen[split]}' and '{name}' are both {split}; keep one, "
                            f"or say what they are:  --split-map {seen[split]}={split},{name}={split}")  # fmt: skip
        seen[split] = name


def _check_splits(walk: _Walk) -> None:
    """Raises DataError for a split of the user's that no folder has."""
    unknown = set(walk.scan.choices.split_map) - set(walk.splits)
    if unknown:
        raise DataError(f"{walk.scan.root}: no split '{sorted(unknown)[0]}', which --split-map names; it has "
                        f"{', '.join(walk.splits) or 'none'}")  # fmt: skip
