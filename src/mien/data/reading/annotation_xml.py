"""Annotations in XML: Pascal VOC, a file for each image, and CVAT for images, one for all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from mien.data.reading.annotation_json import listed
from mien.data.reading.annotations import Annotated, Mark, bounds, floats
from mien.data.reading.reading import Found, Scan
from mien.data.reading.trees import base_name, folder_of, suffix_of
from mien.errors import DataError

_IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img")


def read_xml(scan: Scan, name: str) -> Element:
    """The root of an XML file. Raises DataError where it can't be read, or declares entities."""
    text = scan.text(name)
    where = scan.tree.where(name)
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise DataError(f"{where}: declares a DOCTYPE or entities; refused, annotations need none")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise DataError(f"{where}: not XML ({error}); get a whole copy of the file") from error


def _starting(scan: Scan, tag: str) -> list[str]:
    """The XML files whose root is this element."""
    opening = re.compile(rf"<{tag}[\s>]")
    return [
        name
        for name in scan.with_suffix(".xml")
        if opening.search(scan.head(name, 2048).replace(b"\0", b"").decode("utf-8", "replace"))
    ]


def find_voc(scan: Scan) -> Found | None:
    """Pascal VOC: an XML file for each image, beside it or in Annotations/. Raises DataError."""
    files = _starting(scan, "annotation")
    if not files:
        return None
    gathered = Annotated(scan, "Pascal VOC")
    stems = {image[: len(image) - len(suffix_of(image))].lower(): image for image in gathered.images.images}
    of_lists = _image_sets(gathered)
    for file in files:
        gathered.used.add(file)
        try:
            root = read_xml(scan, file)
        except DataError as error:
            gathered.wrong(file, str(error).removeprefix(f"{scan.tree.where(file)}: "))
            continue
        image, wrong = _image_of(gathered, file, (root.findtext("filename") or "").strip(), stems)
        stem = base_name(file).rpartition(".")[0]
        split = of_lists.get(stem, "") if of_lists else gathered.split_of(image or file, file)
        if image is None or wrong:
            gathered.wrong(file, wrong or "its image is not there", split)
        else:
            gathered.add(image, split, [_voc_mark(gathered, one, file) for one in root.iter("object")])
    return gathered.found(f"the objects of {len(files):,} XML files")


def _image_of(gathered: Annotated, file: str, written: str, stems: Mapping[str, str]) -> tuple[str | None, str]:
    """The image of a file, of the same name or the one it names; and what is wrong where these are two images."""
    stem = file.rpartition(".")[0].lower()
    parts = stem.split("/")
    places = [stem]
    for i in range(len(parts) - 1):
        places += ["/".join([*parts[:i], folder, *parts[i + 1 :]]) for folder in _IMAGE_FOLDERS]
    same = next((stems[place] for place in places if place in stems), None)
    named = gathered.images.find(written, folder_of(file), gathered.split_of(file)) if written else None
    if same and named and same != named and folder_of(same) == folder_of(named):
        other = base_name(same)
        return same, f"names the image '{written[:80]}', but has the name of {other}; rename one of them"
    return same or named, ""


def _voc_mark(gathered: Annotated, one: Element, file: str) -> Mark:
    attributes = {a.findtext("name") or "": a.findtext("value") or "" for a in one.iter("attribute")}
    label = gathered.label_of((one.findtext("name") or "").strip(), attributes)
    if not label:
        return Mark("", wrong="an object in it has no name", where=file)
    place = one.find("bndbox")
    if place is None:
        return Mark(label)
    box = floats([place.findtext(key) for key in ("xmin", "ymin", "xmax", "ymax")])
    if box is None:
        return Mark("", wrong=f"the box of {label} in it is not four numbers", where=file)
    return Mark(label, (box[0], box[1], box[2], box[3]))


def _image_sets(gathered: Annotated) -> dict[str, str]:
    """Image name without suffix -> split, from ImageSets/Main/train.txt and its like."""
    scan = gathered.scan
    found: dict[str, str] = {}
    for name in scan.with_suffix(".txt"):
        folders = [part.lower() for part in name.split("/")[:-1]]
        if "imagesets" not in folders:
            continue
        gathered.used.add(name)
        word = base_name(name).rpartition(".")[0]
        if scan.choices.split(word) is None:  # trainval.txt, or a list of one class
            continue
        split = gathered.split_word(word)
        for line in scan.text(name).splitlines():
            cells = line.split()
            if cells and found.setdefault(cells[0], split) != split:
                gathered.wrong(name, f"{cells[0]} is in {found[cells[0]]} too; read as {found[cells[0]]}", split)
    return found


def find_cvat(scan: Scan) -> Found | None:
    """CVAT for images 1.1: one XML file of images, each with boxes and tags. Raises DataError."""
    gathered = Annotated(scan, "CVAT for images")
    videos = []
    for file in _starting(scan, "annotations"):
        root = read_xml(scan, file)
        if root.find("image") is not None:
            gathered.used.add(file)
            _read_cvat(gathered, file, root)
        elif root.find("track") is not None:
            videos.append(file)
    if videos and not gathered.used:
        raise DataError(
            f"{scan.tree.where(videos[0])}: is CVAT for video, which mien doesn't read; "
            "export it as CVAT for images 1.1"
        )
    if not gathered.used:
        return None
    return gathered.found("the boxes and tags of " + listed(gathered.used))


def _read_cvat(gathered: Annotated, file: str, root: Element) -> None:
    unread: dict[str, int] = {}
    for image in root.iter("image"):
        subset = image.get("subset") or ""
        split = gathered.split_word(subset) if gathered.scan.choices.split(subset) is not None else ""
        split = split or gathered.split_of_list(file)
        where = f"{file}, image {image.get('id')}"
        marks = _cvat_marks(gathered, image, where, unread)
        gathered.place(image.get("name") or "", file, split, where, marks)
    for tag, count in unread.items():
        gathered.notes.append(f"{count:,} marks of the kind {tag} in {file} are not read")


def _cvat_marks(gathered: Annotated, image: Element, where: str, unread: dict[str, int]) -> Iterator[Mark]:
    for one in image:
        label = one.get("label") or ""
        label = gathered.label_of(label, {a.get("name") or "": a.text or "" for a in one.iter("attribute")})
        if one.tag not in ("box", "tag", "polygon"):
            unread[one.tag] = unread.get(one.tag, 0) + 1
            continue
        if one.tag == "tag":
            yield Mark(label)
            continue
        written = (one.get("points") or "").replace(";", ",").split(",")
        if one.tag == "box":
            written = [one.get(key) or "" for key in ("xtl", "ytl", "xbr", "ybr")]
        numbers = floats(written)
        if not label or numbers is None or len(numbers) < 4 or len(numbers) % 2:
            yield Mark("", wrong=f"a {one.tag} in it has no label, or no numbers", where=where)
        else:
            yield Mark(label, bounds(numbers))
