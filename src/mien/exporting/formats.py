"""The forms that a model file can be exported to: what each needs, how it is written, opened and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mien.errors import ExportError, require_extra
from mien.exporting.parity import Runner
from mien.exporting.runtimes import open_ncnn, open_openvino, write_ncnn, write_openvino
from mien.model_file import ModelFile

INT8 = "onnx-int8"

ACCEPTED_LOSS = 0.5
"""Points of accuracy that `onnx-int8` may lose: its bound, as its probabilities have none."""


@dataclass(frozen=True, slots=True)
class Format:
    """One form.

    suffix: behind the model's name, the default output; one that ends in .onnx is a model file again, others are
    folders. within: the largest difference of a probability that is accepted; 1 where accuracy decides. extra, needs:
    the extra that brings it, and the packages that must be there. input: what is given to it. write: to a file, or into
    an empty folder; None for the one that needs data. open: what was written, to be run.
    """

    name: str
    suffix: str
    within: float
    extra: str
    needs: tuple[str, ...]
    input: str
    write: Callable[[ModelFile, Path], None] | None
    open: Callable[[Path], Runner]

    @property
    def is_model_file(self) -> bool:
        """Whether mien reads it as a model."""
        return self.suffix.endswith(".onnx")


def _write_plain(model: ModelFile, place: Path) -> None:
    from mien.exporting.rewriting import write_plain

    write_plain(model, place)


def _write_half(model: ModelFile, place: Path) -> None:
    from mien.exporting.rewriting import write_half

    write_half(model, place)


def open_quietly(place: Path) -> Runner:
    """A model file whose threads don't wait busily: they would slow down what is compared with it."""
    return ModelFile(place, spin=False).probabilities


_FACES = "uint8 (faces, height, width, channels)"
_ROWS = (
    Format("onnx", "-fp32.onnx", 1e-5, "export", ("onnx",), _FACES, _write_plain, open_quietly),
    Format("onnx-fp16", "-fp16.onnx", 1e-3, "export", ("onnx",), _FACES, _write_half, open_quietly),
    Format(INT8, "-int8.onnx", 1.0, "export", ("onnx",), _FACES, None, open_quietly),
    Format("openvino", "-openvino", 1e-3, "openvino", ("openvino",), _FACES, write_openvino, open_openvino),
    Format(
        "ncnn", "-ncnn", 1e-3, "ncnn", ("onnx", "ncnn", "pnnx"),
        "float32 (channels, height, width), one face", write_ncnn, open_ncnn,
    ),
)  # fmt: skip

FORMATS = {row.name: row for row in _ROWS}
"""Name -> form, in the order in which they are shown."""


def find_format(name: str) -> Format:
    """A form whose packages are there. Raises ExportError for an unknown one, MissingExtraError."""
    if name not in FORMATS:
        wrong = f"{name}: is no format to export to" if name else "no format was named"
        raise ExportError(f"{wrong}; choose one with --as: {', '.join(FORMATS)}")
    found = FORMATS[name]
    require_extra(found.extra, f"exporting as {name}", *found.needs)
    return found
