"""What is recognised and not read: containers that may be the whole data set, masks, clips, TFRecord, LMDB."""

from __future__ import annotations

from mien.data.reading.array_files import read_arrays
from mien.data.reading.array_stores import SUFFIXES as ARRAY_SUFFIXES
from mien.data.reading.arrow_tables import SUFFIXES as TABLE_SUFFIXES
from mien.data.reading.parquet import read_parquet
from mien.data.reading.reading import Found, Scan
from mien.data.reading.trees import split_named, suffix_of
from mien.errors import DataError
from mien.images import VIDEO_SUFFIXES

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
PICKLE = "is a pickle, which can run code; save it as .npz"

_FEW_IMAGES, _FEW_ARRAYS = 10, 50
"""At most 10 images may be banners beside the data set; more than 50 arrays hold a single image each."""


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


def is_pickle(name: str) -> bool:
    """Whether a file is a pickle, by its name."""
    return suffix_of(name) in PICKLES


_MASKS = {"masks", "mask", "segmentation", "segmentationclass", "segmentationobject", "seg"}
_IMAGES = {"images", "image", "imgs", "img", "jpegimages"}


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


def refuse_records(scan: Scan) -> Found | None:
    """Raises DataError for containers of records that mien doesn't open, where there is nothing else to read."""
    for name in scan.tree.names:
        last = name.rpartition("/")[2].lower()
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
