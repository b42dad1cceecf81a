"""Exports in files of many samples: Hugging Face image Parquet, and WebDataset's tar files."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.samples import SampleTable
from mien.data.source import Columns
from mien.data.writing.files import (
    NO_SPLIT,
    counted,
    encoded,
    ferplus_votes,
    file_names,
    folder_names,
    label_texts,
    row_blocks,
    split_rows,
)
from mien.errors import import_extra
from mien.files import resumable_path
from mien.reporting import Progress

_SHARD_BYTES = 500_000_000
_TAR_SAMPLES = 5000

# Parquet, as Hugging Face `datasets` writes image classification sets


def write_parquet(dataset: SampleTable, folder: Path, jpeg: int | None, progress: Progress | None) -> None:
    """SPLIT-00000-of-00001.parquet, several of some 500 MB where a split is large; votes in FER+'s ten columns."""
    import pyarrow.parquet as pq

    add = counted(progress, len(dataset))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, rows in split_rows(dataset).items():
            title = folder_names([split or NO_SPLIT])[0]
            count = max(1, -(-int(dataset.shapes[rows].astype(np.int64).prod(1).sum()) // _SHARD_BYTES))
            for number, shard in enumerate(np.array_split(rows, count)):
                file = folder / f"{title}-{number:05d}-of-{count:05d}.parquet"
                if file.exists():
                    add(len(shard))
                    continue
                with resumable_path(file) as place:
                    writer = None
                    for batch in row_blocks(dataset, shard):
                        table = image_table(dataset, batch, jpeg, pool)
                        writer = writer or pq.ParquetWriter(place, table.schema, compression="zstd")
                        writer.write_table(table)
                        add(len(batch))
                    if writer:
                        writer.close()


def image_table(dataset: SampleTable, rows: NDArray[np.intp], jpeg: int | None, pool: ThreadPoolExecutor) -> Any:
    """Those rows as an Arrow table: image, label, and the other columns, with the features of `datasets`."""
    import pyarrow as pa

    suffix = ".png" if jpeg is None else ".jpg"
    columns = {n: v[rows] for n, v in dataset.columns.items() if n not in ("label", "split", "votes", "ferplus_other")}
    if dataset.votes is not None:
        columns["ferplus_votes"] = ferplus_votes(dataset.take(rows), dataset.votes[rows])
    names = file_names(dataset, rows)
    cells = [
        {"bytes": data, "path": name + suffix}
        for data, name in zip(encoded(dataset, rows, jpeg, pool), names, strict=True)
    ]
    table = to_table(columns)
    table = table.add_column(0, "image", pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()})))
    table = table.add_column(1, "label", pa.array(dataset.labels[rows], pa.int64()))
    return table.replace_schema_metadata({"huggingface": _features(table, dataset.label_names)})


def to_table(columns: Columns) -> Any:
    """Columns as an Arrow table: two-dimensional ones become lists of fixed length."""
    pa = import_extra("pyarrow", "data", "keeping a data set as arrays")
    arrays = {}
    for name, values in columns.items():
        if values.ndim == 2:
            flat = pa.array(np.ascontiguousarray(values).reshape(-1))
            arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        elif values.dtype == object or values.dtype.kind == "U":
            arrays[name] = pa.array(values.tolist(), pa.string())
        else:
            arrays[name] = pa.array(values)
    return pa.table(arrays)


def _features(table: Any, label_names: Sequence[str]) -> str:
    """The columns' kinds as `datasets` keeps them in a file's metadata."""
    import pyarrow as pa

    features: dict[str, Any] = {"image": {"_type": "Image"}, "label": {"names": [*label_names], "_type": "ClassLabel"}}
    for field in table.schema:
        if pa.types.is_fixed_size_list(field.type):
            inner = {"dtype": _dtype(field.type.value_type), "_type": "Value"}
            features[field.name] = {"feature": inner, "length": field.type.list_size, "_type": "Sequence"}
        elif field.name not in features:
            features[field.name] = {"dtype": _dtype(field.type), "_type": "Value"}
    return json.dumps({"info": {"features": features}})


def _dtype(kind: Any) -> str:
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


# WebDataset: tar files of KEY.png, KEY.cls, KEY.json


def write_webdataset(dataset: SampleTable, folder: Path, jpeg: int | None, progress: Progress | None) -> None:
    """SPLIT-000000.tar and on, 5,000 samples each; `cls` is the label's number, -1 for none."""
    names, texts = file_names(dataset), label_texts(dataset)
    others = {n: v for n, v in dataset.columns.items() if n not in ("label", "split", "source")}
    suffix = "png" if jpeg is None else "jpg"
    add = counted(progress, len(dataset))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, rows in split_rows(dataset).items():
            title = folder_names([split or NO_SPLIT])[0]
            for number, first in enumerate(range(0, len(rows), _TAR_SAMPLES)):
                shard = rows[first : first + _TAR_SAMPLES]
                file = folder / f"{title}-{number:06d}.tar"
                if file.exists():
                    add(len(shard))
                    continue
                with resumable_path(file) as place, tarfile.open(place, "w", format=tarfile.USTAR_FORMAT) as tar:
                    for batch in row_blocks(dataset, shard):
                        images = encoded(dataset, batch, jpeg, pool)
                        for row, data in zip(batch.tolist(), images, strict=True):
                            about = {"source": dataset.sources[row], "split": split, "label": texts[row]}
                            about |= {name: _plain(values[row]) for name, values in others.items()}
                            _add(tar, f"{names[row]}.{suffix}", data)
                            _add(tar, f"{names[row]}.cls", str(dataset.labels[row]).encode())
                            _add(tar, f"{names[row]}.json", json.dumps(about, ensure_ascii=False).encode())
                        add(len(batch))


def _plain(value: Any) -> Any:
    """A value of a column as JSON can have it: NaN becomes null."""
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no time, no owner: equal samples give equal bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
