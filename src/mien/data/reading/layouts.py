"""The layouts that mien knows, in the order in which they are looked for: one description for code, tests and docs."""

from __future__ import annotations

from functools import partial

from mien.data.reading.affectnet import find_affectnet, find_affectnet_lists
from mien.data.reading.ferplus_images import find_ferplus
from mien.data.reading.folders import find_folders, find_loose
from mien.data.reading.lists import find_lists, find_manifest, find_one_list
from mien.data.reading.name_labels import find_named_folders, find_named_images
from mien.data.reading.pixel_tables import find_fer2013, find_pixel_table, holds_pixels, read_pixel_table
from mien.data.reading.published import find_ck_plus, find_expw, find_raf_db, find_raf_folders, refuse_clips
from mien.data.reading.reading import Found, Layout, Scan
from mien.data.reading.trees import suffix_of
from mien.pictures import VIDEO_SUFFIXES
from mien.signatures import describe_file

LAYOUTS: tuple[Layout, ...] = (
    Layout("FER2013", "fer2013.csv or icml_face_data.csv, with fer2013new.csv beside it", find_fer2013),
    Layout("folders that mien exported", "manifest.csv with the columns file, source, split, label", find_manifest),
    Layout("RAF-DB", "EmoLabel/list_patition_label.txt", find_raf_db),
    Layout("RAF-DB in class folders", "folders 1 to 7 of images with RAF-DB's names", find_raf_folders),
    Layout("AffectNet", "annotations/*_exp.npy beside images/", find_affectnet),
    Layout("AffectNet with lists", "a CSV with subDirectory_filePath and expression", find_affectnet_lists),
    Layout("ExpW", "lines of name, face, top, left, right, bottom, confidence, label", find_expw),
    Layout("FER+ images", "label.csv, or fer2013new.csv and images that it names", find_ferplus),
    Layout("CK+", "sequences and *_emotion.txt", find_ck_plus),
    Layout("class folders of a published data set", "both the folders' and the images' names", find_named_folders),
    Layout("class folders", "folders named after expressions", partial(find_folders, own_classes=False)),
    Layout("a list of images", "a column of images that are there, and one of labels", find_lists),
    Layout("a CSV of images", "a column pixels, or a column for each pixel", find_pixel_table),
    Layout("images named after what they show", "names of KDEF, JAFFE, RaFD, ..., or expressions", find_named_images),
    Layout("own class folders", "two or more sibling folders with images", partial(find_folders, own_classes=True)),
    Layout("loose images", "images that nothing labels", find_loose),
)

PUBLISHED_LISTS = (find_raf_db, find_affectnet_lists, find_expw, find_ferplus)
"""Those of the layouts that are lists, which a user may name alone: `find(scan, name)`."""

KNOWN = f"{', '.join(dict.fromkeys(layout.title for layout in LAYOUTS))}, a ZIP of any of these, or arrays of mien"
"""The layouts, for messages."""


def find_layout(scan: Scan, name: str = "") -> Found | None:
    """The data set in a tree, or in the one file `name` of it; None where there is none that mien knows."""
    if name:
        if holds_pixels(scan, name):
            return read_pixel_table(scan, name)
        published = (find(scan, name) for find in PUBLISHED_LISTS)
        return next((found for found in published if found), None) or find_one_list(scan, name)
    if scan.choices.image_column or scan.choices.label_column or scan.choices.root:  # they are of lists
        found = next((found for find in (*PUBLISHED_LISTS, find_lists) if (found := find(scan))), None)
        if found:
            return found
    return next((found for layout in LAYOUTS if (found := layout.find(scan))), None) or refuse_clips(scan)


def why_unused(scan: Scan, found: Found, name: str) -> str:
    """Why a file of a data set is neither a sample nor a list that was used."""
    if name in scan.image_set:
        return found.stray
    what = describe_file(scan.head(name))
    if what == "a video" or suffix_of(name) in VIDEO_SUFFIXES:
        return "is a video; take frames from it as images"
    return f"is {what}, not an image, and was not needed as a list"
