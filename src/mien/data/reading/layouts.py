"""The layouts that mien knows, in the order in which they are looked for: one description for code, tests and docs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mien.data.reading.annotation_json import find_coco, find_fiftyone
from mien.data.reading.annotation_tables import find_tables
from mien.data.reading.annotation_xml import find_cvat, find_voc
from mien.data.reading.folders import find_folders, find_loose
from mien.data.reading.label_studio import find_label_studio
from mien.data.reading.lists import find_lists, find_one_list
from mien.data.reading.reading import Found, Layout, Scan
from mien.data.reading.trees import Folder, suffix_of
from mien.data.reading.unread import refuse_masks, refuse_records
from mien.data.reading.yolo import find_yolo
from mien.pictures import PICTURE_SUFFIXES

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "YOLO", "a text file of class numbers and boxes for each image, names in data.yaml or classes.txt", find_yolo
    ),
    Layout("COCO", "JSON of images, annotations and categories; Roboflow's _annotations.coco.json", find_coco),
    Layout("FiftyOne", "labels.json of classes and labels, or samples.json", find_fiftyone),
    Layout("Label Studio", "its exports as JSON, JSON-MIN and CSV: choices, rectangles, polygons", find_label_studio),
    Layout("CVAT for images", "annotations.xml of images with boxes and tags", find_cvat),
    Layout("Pascal VOC", "an XML file for each image, beside it or in Annotations/", find_voc),
    Layout("CSV of boxes", "columns filename, class, xmin, ymin, xmax, ymax; or Roboflow's _classes.csv", find_tables),
    Layout("class folders", "folders named after expressions", partial(find_folders, own_classes=False)),
    Layout("lists", "a column of images and one of labels", find_lists),
    Layout("segmentation masks", "images and masks of the same names; refused", refuse_masks),
    Layout(
        "own class folders", "two or more sibling folders that hold images", partial(find_folders, own_classes=True)
    ),
    Layout("loose images", "images that nothing labels", find_loose),
    Layout("TFRecord or LMDB", "their files; refused", refuse_records),
)

KNOWN = (
    "fer2013.csv, a CSV of path,label[,split], image Parquet, class folders with or without splits, RAF-DB, AffectNet, "
    "CK+48, YOLO, COCO, Pascal VOC, CVAT, Label Studio, FiftyOne, a folder of pictures, a ZIP of these, or arrays "
    "of mien"
)
"""The layouts, for messages."""


def find_layout(scan: Scan, name: str = "") -> Found | None:
    """The data set in a tree, or in the one file `name` of it; None where there is none that mien knows."""
    if name:
        return _find_one_file(scan, name)
    for layout in LAYOUTS:
        found = layout.find(scan)
        if found:
            return found
    return None


@dataclass(frozen=True)
class _OneFile(Folder):
    """The images of a folder, and one file that says what they show."""

    file: str = ""

    @property
    def names(self) -> Sequence[str]:
        """All images, and the file."""
        return [name for name in super().names if name == self.file or suffix_of(name) in PICTURE_SUFFIXES]


def _find_one_file(scan: Scan, name: str) -> Found | None:
    """The data set of one file that a user named: of annotations, or a list."""
    suffix = suffix_of(name)
    if suffix in (".yaml", ".yml"):
        return find_yolo(scan)
    if suffix in (".json", ".xml", ".csv"):
        one = Scan(_OneFile(scan.root, name), scan.root, scan.choices)
        for find in (find_coco, find_fiftyone, find_label_studio, find_cvat, find_voc, find_tables):
            found = find(one)
            if found:
                return found
    return find_one_list(scan, name)


def why_unused(scan: Scan, found: Found, name: str) -> str:
    """Why a file of a data set is neither a sample nor a list that was used."""
    if name in set(scan.images):
        return found.stray
    return "is not an image, and not a list that was used"
