"""Exports a model file to another form: written beside its place, compared with its source, and only then kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.balance import Prior, model_balance
from mien.data.samples import Samples
from mien.data.toy import toy_faces
from mien.errors import DataError, ExportError
from mien.evaluation.fitting import fitting_split, fitting_targets
from mien.exporting.formats import ACCEPTED_LOSS, INT8, Format, find_format, open_quietly
from mien.exporting.parity import Parity, compare_outputs
from mien.exporting.rewriting import with_balance
from mien.files import atomic_folder, atomic_path, make_folder
from mien.labels import canonical_all
from mien.model_file import ModelFile, load_model
from mien.version import __version__

LABELS_FILE = "labels.json"
"""In an exported folder: labels, input, crop, and where the model came from."""

_TOY_FACES = 512
_MOST_FACES = 4096
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Export:
    """A written export.

    form: its format. path: a file, or a folder. bytes, source_bytes: sizes. how: what was chosen on the way; '' where
    nothing was. parity: None where it was not checked.
    """

    model: str
    source_sha256: str
    form: str
    path: Path
    bytes: int
    source_bytes: int
    how: str
    parity: Parity | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True, slots=True, eq=False)
class _Faces:
    """What an export is compared on. shown: in words. right: int64 (N,), -1 where nothing is known; truth: by what."""

    images: NDArray[np.uint8]
    shown: str
    right: NDArray[np.int64] | None
    truth: str


def export(
    model: str | Path | ModelFile,
    format: str,
    out: str | Path | None = None,
    *,
    data: str | Path | None = None,
    balance: float | None = None,
    prior: Prior | None = None,
    check: bool = True,
    accept_loss: float = ACCEPTED_LOSS,
    force: bool = False,
) -> Export:
    """Writes a model in another format, compares it with its source, and keeps it only if both agree.

    Args:
        model: A shipped model's name, a model file, or an opened model.
        format: `onnx`, `onnx-fp16`, `onnx-int8`, `openvino` or `ncnn`; empty: `onnx`, if `out` ends in .onnx.
        out: The file, or the folder for OpenVINO and ncnn; None takes the model's name with the format's ending.
        data: A data set. Its validation split is what int8 is fitted to, and what accuracy is measured on.
        balance: Put into the graph: how far the model's training mix of expressions is evened out, 0 to 1. None: what
            the model states, so that the export gives the probabilities of `mien.predict`.
        prior: Your own mix of expressions: label -> count or share, or a JSON file of that.
        check: Run source and export on the validation split, at most 4096 faces in class proportion, or on 512 drawn
            faces without data. Probabilities may differ by the format's bound.
        accept_loss: Points of accuracy that `onnx-int8` may lose.
        force: Replace an older export.

    Returns:
        Export: its `path`, sizes in bytes, and `parity` with the source. A failed export leaves nothing behind.

    Raises:
        ExportError: The format is unknown, the place is taken, or the export does not agree with its source.
        ModelFileError: There is no such model, it is not a model of mien, or it has no training mix for a balance.
        ArgumentError: The balance is out of range, or the prior can't be used.
        DataError: The data lack a validation split, or all of the model's labels.
        OutputError: The place can't be written.
        MissingExtraError: The packages of the format are not installed.

    Examples:
        >>> import mien
        >>> mien.export("mien-nano", "onnx-fp16").path
        PosixPath('mien-nano-fp16.onnx')
    """
    source = model if isinstance(model, ModelFile) else load_model(model)
    found = find_format(format or ("onnx" if out is not None and Path(out).suffix == ".onnx" else ""))
    if found.name == INT8 and data is None:
        raise ExportError(f"{INT8}: is fitted to faces; give a data set with --data, whose validation split is used")
    data = None if data is None else Path(data)
    out = Path(source.path.stem + found.suffix) if out is None else Path(out)
    _check_free(out, source, found, force=force)
    chosen = model_balance([source], balance, prior)
    if found.is_model_file and out.suffix.lower() != ".onnx":
        raise ExportError(f"{out}: {found.name} is a model file; expected a name that ends in .onnx")
    size, channels = source.info.size, source.info.channels
    samples = None if data is None else fitting_split(data, "validation", size=size, channels=channels)
    make_folder(out.absolute().parent)
    with with_balance(source, chosen) as balanced:
        made = _export(balanced, found, out, samples, data, check=check, accept_loss=accept_loss)
    return replace(made, source_bytes=source_bytes(source.path))


def _export(
    source: ModelFile,
    found: Format,
    out: Path,
    samples: Samples | None,
    data: Path | None,
    *,
    check: bool,
    accept_loss: float,
) -> Export:
    faces = _known_faces(source, samples, data) if samples is not None and data is not None else None
    if faces is None and check:
        info = source.info
        images = toy_faces(_TOY_FACES, size=info.size, channels=info.channels).images
        faces = _Faces(images, "drawn faces", None, "")
    if found.name == INT8:
        assert samples is not None and faces is not None
        return _export_int8(source, found, out, samples, faces, str(data), check=check, accept_loss=accept_loss)
    assert found.write is not None
    # What may be replaced, `_check_free` has decided.
    with atomic_path(out) if found.is_model_file else atomic_folder(out, replace=True) as place:
        found.write(source, place)
        parity = _compare(source, found, place, faces) if check and faces is not None else None
        if not found.is_model_file:
            (place / LABELS_FILE).write_text(_labels_text(source, found, place, parity), "utf-8")
    return _described(source, found, out, parity)


def _export_int8(
    source: ModelFile,
    form: Format,
    out: Path,
    samples: Samples,
    faces: _Faces,
    data: str,
    *,
    check: bool,
    accept_loss: float,
) -> Export:
    from mien.exporting.quantizing import FITTED_TO, quantise
    from mien.exporting.rewriting import save_model

    assert faces.right is not None
    fitted_to = samples.images[_in_proportion(samples.labels, FITTED_TO)]
    found = quantise(source, fitted_to, faces.images, faces.right, open_quietly)
    how = f"{found.way}, {found.layers} of {found.of_layers} layers"
    note = f"8-bit whole numbers ({how}), fitted to {len(fitted_to)} faces of validation of {Path(data).name}"
    name = f"{source.info.name}-int8"
    with atomic_path(out) as place:
        save_model(found.graph, source, form.name, place, name=name, note=note, scores={})
        parity = None
        if check:
            parity = _compare(source, form, place, faces)
            if parity.lost_points > accept_loss:
                raise ExportError(
                    f"{out}: int8 loses {parity.lost_points:.2f} points of accuracy on {parity.n} validation faces "
                    f"({parity.accuracy_before:.4f} to {parity.accuracy_after:.4f}); {accept_loss:g} are accepted; "
                    "take onnx-fp16, or give --accept-loss POINTS; nothing was written"
                )
            assert parity.accuracy_after is not None
            scores = {"validation_accuracy": round(parity.accuracy_after, 4), "validation_n": float(parity.n)}
            save_model(found.graph, source, form.name, place, name=name, note=note, scores=scores)
    return _described(source, form, out, parity, how=how)


def _compare(source: ModelFile, form: Format, place: Path, faces: _Faces) -> Parity:
    """Raises ExportError where the probabilities are further apart than the form's bound."""
    parity = compare_outputs(
        open_quietly(source.path), form.open(place), faces.images, shown=faces.shown, right=faces.right,
        truth=faces.truth,
    )  # fmt: skip
    if not parity.largest <= form.within:
        raise ExportError(
            f"{source.path}: as {form.name} its probabilities are off by {parity.largest:.2g} on {parity.faces} faces; "
            f"expected at most {form.within:g}; nothing was written; take another format"
        )
    return parity


def _known_faces(source: ModelFile, samples: Samples, data: Path) -> _Faces:
    """The validation faces, or 4096 of them, with what counts as right: the raters' majority, or the data's labels.

    Raises DataError where the data know none of the model's labels.
    """
    rows = _in_proportion(samples.labels, _MOST_FACES)
    if source.info.target == "votes" and samples.votes is not None:
        right, truth = fitting_targets(source, samples, source=str(data)).truth, "majority of the raters"
    else:
        own = canonical_all(source.info.labels, str(source.path))
        theirs = canonical_all(samples.label_names, str(data))
        place = np.array([own.index(name) if name in own else -1 for name in theirs], np.int64)
        right, truth = place[samples.labels], "label"
    if not (right[rows] >= 0).any():
        raise DataError(f"{data}: none of its validation faces has one of the labels {', '.join(source.info.labels)}")
    return _Faces(samples.images[rows], f"validation of {Path(data).name}", right[rows], truth)


def _in_proportion(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Rows of at most `count` faces, classes in proportion, the same for each call."""
    if len(labels) <= count:
        return np.arange(len(labels))
    by_class = np.lexsort((np.random.default_rng(0).permutation(len(labels)), labels))
    return np.sort(by_class[np.linspace(0, len(labels) - 1, count).round().astype(np.int64)])


def _check_free(out: Path, source: ModelFile, form: Format, *, force: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if out.exists() and out.samefile(source.path):
        raise ExportError(f"{out}: is the model itself; give another file with --out")
    if form.is_model_file == out.is_dir() or out.is_symlink():
        raise ExportError(f"{out}: is not a {'file' if form.is_model_file else 'folder'}; choose another place")
    if not force:
        raise ExportError(f"{out}: is there already; give --force to replace it, or choose another place")
    if not form.is_model_file and not (out / LABELS_FILE).is_file() and any(out.iterdir()):
        raise ExportError(f"{out}: holds other things than an export, and --force won't remove them; choose another")


def _labels_text(source: ModelFile, form: Format, folder: Path, parity: Parity | None) -> str:
    """What a model file says in its metadata, for folders that have none."""
    info = source.info
    sums = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}
    about = {
        "format": _FORMAT,
        "as": form.name,
        "mien": __version__,
        "model": info.name,
        "labels": list(info.labels),
        "target": info.target,
        "input": {
            "as": form.input,
            "size": info.size,
            "channels": info.channels,
            "colours": "grey" if info.channels == 1 else "RGB",
            "values": [0, 255],
        },
        "crop": asdict(info.crop),
        "temperature": info.temperature,
        "prior": list(info.prior),
        "data": info.data,
        "licence": info.licence,
        "source": {"file": source.path.name, "sha256": source.sha256},
        "files": sums,
        "parity": None if parity is None else asdict(parity),
    }
    return json.dumps(about, indent=1) + "\n"


def _described(source: ModelFile, form: Format, out: Path, parity: Parity | None, *, how: str = "") -> Export:
    files = [out] if out.is_file() else [f for f in out.iterdir() if f.name != LABELS_FILE]
    size = sum(f.stat().st_size for f in files)
    return Export(source.info.name, source.sha256, form.name, out, size, source_bytes(source.path), how, parity)


def source_bytes(path: Path) -> int:
    """The size of a model file, with the weights that it takes from another model's."""
    if path.suffix != ".onnx":
        return path.stat().st_size
    import onnx

    return int(onnx.load(str(path)).ByteSize())
