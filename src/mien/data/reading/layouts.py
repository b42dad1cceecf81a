"""The layouts that mien recognises, in search order: one description for code, tests and docs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mien.data.reading.affectnet import find_affectnet, find_affectnet_lists
from mien.data.reading.annotation_json import find_coco, find_create_ml, find_fiftyone, find_labelme, find_via
from mien.data.reading.annotation_xml import find_cvat, find_voc
from mien.data.reading.array_files import find_arrays, read_arrays
from mien.data.reading.arrow_tables import SUFFIXES as TABLE_SUFFIXES
from mien.data.reading.ferplus import find_ferplus
from mien.data.reading.folders import find_folders, find_loose
from mien.data.reading.label_studio import find_label_studio
from mien.data.reading.lists import find_lists, find_manifest, find_one_list
from mien.data.reading.name_labels import find_named_folders, find_named_images
from mien.data.reading.parquet import find_parquet, read_parquet
from mien.data.reading.pixel_tables import find_fer2013, find_pixel_table, holds_pixels, read_pixel_table
from mien.data.reading.published import find_aff_wild, find_ck_plus, find_expw, find_raf_db, find_raf_folders
from mien.data.reading.reading import Found, Layout, Scan, names_by_last
from mien.data.reading.sources import ImageFiles
from mien.data.reading.stored_arrays import HDF5_SUFFIXES
from mien.data.reading.stored_arrays import SUFFIXES as ARRAY_SUFFIXES
from mien.data.reading.text_tables import LIST_SUFFIXES
from mien.data.reading.trees import Folder, base_name, folded, split_named, suffix_of
from mien.data.reading.unread import why_unread
from mien.data.reading.webdataset import find_webdataset
from mien.data.reading.yolo import find_yolo
from mien.errors import DataError
from mien.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from mien.signatures import UNREAD_IMAGES, describe_file

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
_UNREAD_ANNOTATIONS = "holds no labels of a form that mien reads; where it has labels, export them as COCO or CSV"
PICKLE = "is a pickle, which can run code; save it as .npz"

_FEW_IMAGES, _FEW_ARRAYS = 10, 50
"""At most 10 images may be banners beside the data set; more than 50 arrays hold a single image each."""

_ANNOTATED = (".json", ".jsonl", ".ndjson", ".xml")
_MASKS = {"masks", "mask", "segmentation", "segmentationclass", "segmentationobject", "seg"}
_IMAGES = {"images", "image", "imgs", "img", "jpegimages"}
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_COLUMNS = {"image Parquet", "arrays", "WebDataset", "a CSV of images", "FER2013", "folders that mien exported"}
"""The titles of layouts with columns that are no lists of image files."""
LISTS = (find_raf_db, find_affectnet_lists, find_expw, find_ferplus)
"""Published lists that a user may name alone."""
ANNOTATIONS = (
    find_coco, find_create_ml, find_via, find_labelme, find_fiftyone, find_label_studio, find_cvat, find_voc,
)  # fmt: skip
"""Files of annotations that a user may name alone; the images are in their folder."""
PACKED = {
    "a ZIP": "unpack it, and give the folder",
    "an archive": "unpack it, and give the folder",
    "a Parquet file": "end its name in .parquet",
    "an HDF5 file": "end its name in .h5",
    "a NumPy array": "end its name in .npy",
}
"""Files that may hold a data set though their names do not say so, by `describe_file`, and what to do with them."""


def refuse_containers(scan: Scan) -> Found | None:
    """Raises DataError, or MissingExtraError, for the first file that may hold the data; None where none does."""
    if len(scan.images) > _FEW_IMAGES:
        return None
    tables = scan.with_suffix(*TABLE_SUFFIXES)
    if tables:
        return read_parquet(scan, *tables)
    arrays = scan.with_suffix(*ARRAY_SUFFIXES)
    if len(arrays) > _FEW_ARRAYS:
        raise DataError(f"{scan.root}: {len(arrays):,} files of arrays such as {arrays[0]}; expected one array of all "
                        "images and one of all labels")  # fmt: skip
    if arrays:
        return read_arrays(scan, *arrays)
    for name in scan.with_suffix(*PICKLES):
        raise DataError(f"{scan.tree.where(name)}: {PICKLE}")
    for name in scan.with_suffix(".tar"):
        raise DataError(f"{scan.tree.where(name)}: is a tar archive, not of WebDataset's samples; unpack it")
    return None


def refuse_pickle(scan: Scan, name: str) -> Found:
    """Raises DataError."""
    raise DataError(f"{scan.tree.where(name)}: {PICKLE}")


def refuse_masks(scan: Scan) -> Found | None:
    """Raises DataError for images with segmentation masks of the same names: they would pass for two classes."""
    stems: dict[tuple[str, bool], set[str]] = {}
    shown: dict[bool, str] = {}
    for name in scan.images:
        parts = name[: len(name) - len(suffix_of(name))].lower().split("/")
        kinds = [part for part in parts[:-1] if part in _MASKS | _IMAGES]
        if kinds:
            is_mask = kinds[-1] in _MASKS
            above = "/".join(p for p in parts[:-1] if p not in _MASKS | _IMAGES and split_named(p) is None)
            stems.setdefault((above, is_mask), set()).add(parts[-1].removesuffix("_mask"))
            shown.setdefault(is_mask, name.rpartition("/")[0])
    for (above, is_mask), masks in stems.items():
        if is_mask and 2 * len(masks & stems.get((above, False), set())) > len(masks):
            raise DataError(
                f"{scan.root}: holds segmentation masks ({shown[True]}/), which name no expression; expected labels or "
                "boxes: export them as COCO or YOLO"
            )
    return None


def refuse_records(scan: Scan, only: str = "") -> Found | None:
    """Raises DataError for containers of records that mien doesn't open, where there is nothing else to read.

    only: the one file that is looked at.
    """
    for name in [only] if only else scan.tree.names:
        last = base_name(name).lower()
        kind = ""
        if suffix_of(name) in (".tfrecord", ".tfrecords", ".tfrec") or ".tfrecord-" in last:
            kind = "TFRecord"
        elif last in ("data.mdb", "lock.mdb") or suffix_of(name) in (".lmdb", ".mdb"):
            kind = "LMDB"
        if kind:
            raise DataError(
                f"{scan.tree.where(name)}: is a {kind}, which mien doesn't read; export the data set as image files "
                "with COCO, YOLO or a CSV, or as Parquet"
            )
    return None


def refuse_clips(scan: Scan) -> Found | None:
    """Sets of clips, such as AFEW and DFEW. Raises DataError where a tree holds videos and no image."""
    clips = scan.with_suffix(*VIDEO_SUFFIXES)
    if scan.images or not clips:
        return None
    raise DataError(
        f"{scan.root}: holds {len(clips):,} videos ({clips[0]}) and no images; data sets are of images: take "
        "frames from the clips first, into the same folders, for example with  ffmpeg -i CLIP -vf fps=2 CLIP_%04d.png"
    )


LAYOUTS: tuple[Layout, ...] = (
    Layout("FER2013", "fer2013.csv or icml_face_data.csv, with fer2013new.csv beside it", find_fer2013),
    Layout("folders that mien exported", "manifest.csv with the columns file, source, split, label", find_manifest),
    Layout("image Parquet", "Parquet or Arrow files with a column of images and one of labels", find_parquet),
    Layout("arrays", ".npy, .npz, .mat or HDF5 with arrays of images and of labels, called so", find_arrays),
    Layout("WebDataset", "tar files of KEY.jpg or KEY.png with KEY.cls, KEY.txt or KEY.json", find_webdataset),
    Layout("RAF-DB", "EmoLabel/list_patition_label.txt", find_raf_db),
    Layout("RAF-DB in class folders", "folders 1 to 7 of images with RAF-DB's names", find_raf_folders),
    Layout("AffectNet", "annotations/*_exp.npy beside images/", find_affectnet),
    Layout("AffectNet with lists", "a CSV with subDirectory_filePath and expression", find_affectnet_lists),
    Layout("ExpW", "lines of name, face, top, left, right, bottom, confidence, label", find_expw),
    Layout("FER+ images", "label.csv, or fer2013new.csv and images that it names", find_ferplus),
    Layout("CK+", "sequences and *_emotion.txt", find_ck_plus),
    Layout("Aff-Wild2", "folders of frames, and CLIP.txt of names and of a number per frame", find_aff_wild),
    Layout("YOLO", "class numbers and boxes in a text file for each image; data.yaml, classes.txt", find_yolo),
    Layout("COCO", "JSON of images, annotations and categories; Roboflow's _annotations.coco.json", find_coco),
    Layout("Create ML", "JSON of images, each with labels and coordinates", find_create_ml),
    Layout("VIA", "VGG Image Annotator's projects, and its exports as JSON and CSV", find_via),
    Layout("LabelMe", "a JSON file of shapes, or of flags, for each image", find_labelme),
    Layout("FiftyOne", "labels.json of classes and labels, or samples.json", find_fiftyone),
    Layout("Label Studio", "its exports as JSON, JSON-MIN and CSV: choices, rectangles, polygons", find_label_studio),
    Layout("CVAT for images", "annotations.xml of images with boxes and tags", find_cvat),
    Layout("Pascal VOC", "an XML file for each image, beside it or in Annotations/", find_voc),
    Layout("class folders of a published data set", "both the folders' and the images' names", find_named_folders),
    Layout("class folders", "folders named after expressions", partial(find_folders, own_classes=False)),
    Layout("a list of images", "a column of images that are there, one of labels, maybe four of boxes", find_lists),
    Layout("a CSV of images", "a column pixels, or a column for each pixel", find_pixel_table),
    Layout("images named after what they show", "names of KDEF, JAFFE, RaFD, ..., or expressions", find_named_images),
    Layout("segmentation masks", "images and masks of the same names; refused", refuse_masks),
    Layout("own class folders", "two or more sibling folders with images", partial(find_folders, own_classes=True)),
    Layout("archives and pickles", "files that may be the data set and can't be read; refused", refuse_containers),
    Layout("loose images", "images that nothing labels", find_loose),
    Layout("clips, TFRecord, LMDB", "their files; refused", lambda scan: refuse_clips(scan) or refuse_records(scan)),
)

READ = tuple(layout.title for layout in LAYOUTS if "refused" not in layout.recognised_by)
"""The titles of the layouts that are read; docs/data.md's table has each of them."""

KNOWN = f"{', '.join(READ)}, a ZIP, or arrays of mien"
"""The layouts, for messages."""


FILES: tuple[tuple[tuple[bytes, ...], tuple[str, ...], Callable[[Scan, str], Found]], ...] = (
    ((b"PAR1", b"ARROW1"), TABLE_SUFFIXES, read_parquet),
    ((b"\x93NUMPY", b"\x89HDF", b"MATLAB"), (".npy", ".npz", ".mat", *HDF5_SUFFIXES), read_arrays),
    ((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), PICKLES, refuse_pickle),
)
"""Single files that are no text: their first bytes, their suffixes, and what reads them."""


def find_layout(scan: Scan, name: str = "") -> Found | None:
    """The data set in a tree, or in the one file `name` of it; None where there is none that mien knows."""
    if name:
        return _find_in_file(scan, name)
    if scan.choices.image_column or scan.choices.label_column or scan.choices.root:  # they are of lists
        found = _first((*LISTS, *ANNOTATIONS, find_lists), scan)
        if found:
            return found
        for layout in LAYOUTS:
            found = layout.find(scan)
            if found and layout.title not in _COLUMNS:
                raise DataError(f"{scan.root}: is read as {found.reading.layout}; --image-column, --label-column and "
                                "--root go with lists and tables, and none of it names its images")  # fmt: skip
            if found:
                return found
        return None
    return _first([layout.find for layout in LAYOUTS], scan)


def _first(finders: Sequence[Callable[[Scan], Found | None]], scan: Scan) -> Found | None:
    return next((found for find in finders if (found := find(scan))), None)


@dataclass(frozen=True)
class _OneFile(Folder):
    """The images of a folder, and one file that says what they show."""

    file: str = ""

    @property
    def names(self) -> Sequence[str]:
        return [name for name in super().names if name == self.file or suffix_of(name) in IMAGE_SUFFIXES]


def _find_in_file(scan: Scan, name: str) -> Found | None:
    """The data set of one file that a user named, recognised by its first bytes, else by its suffix."""
    start, suffix = scan.head(name), suffix_of(name)
    for starts, suffixes, read in FILES:
        if start.startswith(starts) or suffix in suffixes:
            return read(scan, name)
    if suffix in (".yaml", ".yml"):
        return find_yolo(scan)
    refuse_records(scan, name)
    if holds_pixels(scan, name):
        return read_pixel_table(scan, name)
    found = next((found for find in LISTS if (found := find(scan, name))), None)
    if not found and suffix in (".json", ".xml", ".csv") and not scan.choices.root:
        found = _first(ANNOTATIONS, Scan(_OneFile(scan.root, name), scan.root, scan.choices, one_file=True))
    return found or find_one_list(scan, name)


def why_unused(scan: Scan, found: Found, name: str, read: Callable[[], Mapping[str, str]]) -> str:
    """Why a file of a data set is neither a sample nor a list that was used. read: as in `why_unread`."""
    if name in scan.image_set:
        return found.stray
    suffix = suffix_of(name)
    unread = why_unread(scan, name, read) if suffix in LIST_SUFFIXES else ""
    what = describe_file(scan.head(name))
    reasons = (
        (suffix in PICKLES, PICKLE),
        (bool(unread), unread),
        (suffix in _SPREADSHEETS, "is a spreadsheet; save it as CSV"),
        (what in PACKED, f"is {what}; {PACKED.get(what)}"),
        (what in UNREAD_IMAGES, f"is {what}, which can't be read here; convert it to JPEG or PNG"),
        (what == "text" and (suffix in _ANNOTATED or _is_named_after(scan, name)), _UNREAD_ANNOTATIONS),
        (what == "a video" or suffix in VIDEO_SUFFIXES, "is a video; take frames from it as images"),
    )
    return next((why for fits, why in reasons if fits), f"is {what}, not an image, and was not needed as a list")


def _is_named_after(scan: Scan, name: str) -> bool:
    """Whether a text is called as an image of the set, or as a folder of images: it may say what they show."""
    stem = base_name(name).rpartition(".")[0]
    of_folder = {stem, stem.partition("_")[0]} & scan.files_of_folders.keys()
    return bool(of_folder) or any(n in scan.image_set for n in names_by_last(scan.tree).get(f"{folded(stem)}.", ()))


def labels_read(found: Found) -> dict[str, str]:
    """Image -> class, of a data set in files."""
    source = found.source
    if not isinstance(source, ImageFiles):
        return {}
    places = {r.name: source.labels.index(r.label) for r in source.records if not r.wrong}
    return {name: source.label_names[place] for name, place in places.items() if place is not None and place >= 0}
