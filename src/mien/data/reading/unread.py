"""Formats that are recognised, but not read: they are refused by name."""

from __future__ import annotations

from mien.data.reading.reading import Found, Scan
from mien.data.reading.trees import split_named, suffix_of
from mien.errors import DataError

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
