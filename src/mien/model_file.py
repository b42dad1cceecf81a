"""The model file: an ONNX graph from uint8 face crops to calibrated probabilities, with all that is needed to use it.

Metadata (one JSON text under the key `mien`) holds the labels in order, the input's size and channels, how faces must
be cropped, the data it was trained and measured on, its scores, licence and recipe. Under `mien_card` there may be its
model card, as Markdown. The reader refuses a file whose metadata is missing or does not fit its graph.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.crop_spec import CropSpec
from mien.errors import MissingExtraError, ModelFileError
from mien.inference import OpenVinoNetwork, check_device, device_of, open_network
from mien.releases import find_model, list_models, shipped_models
from mien.signatures import HEAD_BYTES, describe_file
from mien.suggestions import did_you_mean

METADATA_KEY, CARD_KEY = "mien", "mien_card"
FORMAT = 1
OPENVINO_FILE, OPENVINO_INFO = "model.xml", "labels.json"
"""The files of an OpenVINO export: the network, with its weights beside it, and the metadata."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model file says of itself.

    target: `votes` (probability = share of raters who would say so, at balance 0) or `label` (the data set's labels).
    scores: figures on validation, as measured when the file was made. temperature: what the logits were divided by, or
    1 where that is no single number. members: the names of the models whose probabilities it averages; empty for one
    network. prior: the mix of the training faces, a share for each label; empty where it is unknown. balance: what
    recognition uses if nothing else is requested, 0 to 1, see `mien.balance`; the graph gives probabilities at 0.
    """

    name: str
    labels: tuple[str, ...]
    size: int
    channels: int
    crop: CropSpec
    target: str
    temperature: float = 1.0
    parameters: int = 0
    data: str = ""
    licence: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    recipe: str = ""
    members: tuple[str, ...] = ()
    prior: tuple[float, ...] = ()
    balance: float = 0.0

    def __post_init__(self) -> None:
        if self.prior and (len(self.prior) != len(self.labels) or not all(share > 0 for share in self.prior)):
            raise ValueError(f"prior is {self.prior}; expected a share above 0 for each of {len(self.labels)} labels")
        if not 0 <= self.balance <= 1 or (self.balance and not self.prior):
            raise ValueError(f"balance is {self.balance}; expected 0 to 1, and 0 without a prior")

    def to_json(self) -> str:
        """The metadata as written in the file."""
        raw = {"format": FORMAT, **asdict(self)}
        if not self.members:
            del raw["members"]
        if not self.prior:
            del raw["prior"], raw["balance"]
        return json.dumps(raw, sort_keys=True)


class ModelFile:
    """An opened model file. Opening reads and checks it; the network itself is loaded at the first use."""

    def __init__(self, path: str | Path, *, threads: int = 0, spin: bool = True, device: str = "cpu") -> None:
        """path: a file, the name of a shipped or fetched model, or the folder of an OpenVINO export.

        The other arguments are those of `mien.inference.open_network`; an OpenVINO export runs on the processor.

        Raises ModelFileError; DeviceError for a device that is unknown.
        """
        self.path = find_model(str(path)) or Path(path)
        if (self.path / OPENVINO_FILE).is_file():
            self.path = self.path / OPENVINO_FILE
        self._threads, self._spin, self._device = threads, spin, check_device(device)
        self._session = self._open()
        self.info = self._read_info()
        self._check_graph()

    def __repr__(self) -> str:
        info = self.info
        return f"ModelFile({str(self.path)!r}, {info.size}x{info.size}x{info.channels}: {', '.join(info.labels)})"

    def _open(self) -> Any:
        if self.path.is_dir():
            inside = [*sorted(self.path.glob("*.onnx")), *sorted(self.path.glob("models/*.onnx"))]
            raise ModelFileError(f"{self.path}: is a folder; give a model file" + "".join(f", {m}" for m in inside))
        if not self.path.is_file():
            hint = did_you_mean(str(self.path), list_models())
            raise ModelFileError(
                f"{self.path}: no such model file; {hint}shipped: {', '.join(shipped_models())}; "
                "or give a path to a .onnx"
            )
        try:
            if self.path.suffix == ".xml":
                return OpenVinoNetwork(self.path, threads=self._threads)
            return open_network(str(self.path), threads=self._threads, spin=self._spin, device=self._device)
        except MissingExtraError:
            raise
        except Exception as error:  # onnxruntime and OpenVINO raise many unrelated types for a bad file
            if other := _other_kind(self.path):
                raise ModelFileError(
                    f"{self.path}: is {other}; expected an ONNX file that `mien train` made"
                ) from error
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            kind = "OpenVINO" if self.path.suffix == ".xml" else "ONNX"
            raise ModelFileError(f"{self.path}: not a usable {kind} file ({first})") from error

    def _read_info(self) -> ModelInfo:
        if self.path.suffix == ".xml":
            return _exported_info(self.path)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise ModelFileError(
                f"{self.path}: an ONNX file, but not mien's: its metadata has no '{METADATA_KEY}'; "
                "use a file that `mien train` made"
            )
        try:
            raw = json.loads(text)
            version = raw.pop("format", None)
            if version != FORMAT:
                raise ModelFileError(f"{self.path}: model format {version}; this mien reads format {FORMAT}")
            raw["crop"] = CropSpec(**raw["crop"])
            raw["labels"] = tuple(raw["labels"])
            raw["members"] = tuple(raw.get("members", ()))
            raw["prior"] = tuple(raw.get("prior", ()))
            return ModelInfo(**raw)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelFileError(f"{self.path}: its metadata is damaged ({error})") from error

    def _check_graph(self) -> None:
        info = self.info
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        found = (len(inputs), inputs[0].type, *inputs[0].shape[1:], len(outputs), outputs[0].shape[-1])
        expected = (1, "tensor(uint8)", info.size, info.size, info.channels, 1, len(info.labels))
        if found != expected:
            raise ModelFileError(
                f"{self.path}: its metadata does not fit its graph: (inputs, type, height, width, channels, outputs, "
                f"labels) should be {expected} and are {found}"
            )

    @cached_property
    def card(self) -> str:
        """The model card inside the file, as Markdown; empty where it has none."""
        if self.path.suffix == ".xml":
            return ""
        return str(self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY, ""))

    @property
    def device(self) -> str:
        """Where the network runs: `cpu`, `cuda`, ..."""
        return device_of(self._session)

    @cached_property
    def sha256(self) -> str:
        """The file's checksum; that of an OpenVINO export is of both its files."""
        digest = hashlib.sha256(self.path.read_bytes())
        if self.path.suffix == ".xml":
            digest.update(self.path.with_suffix(".bin").read_bytes())
        return digest.hexdigest()

    def probabilities(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Face crops uint8 (N, H, W, C), RGB where C = 3 -> calibrated probabilities float32 (N, K), at balance 0."""
        if len(faces) == 0:
            return np.zeros((0, len(self.info.labels)), np.float32)
        name = self._session.get_inputs()[0].name
        return self._session.run(None, {name: faces})[0]  # type: ignore[no-any-return]


def _other_kind(path: Path) -> str:
    """What a file is that is no network of ours, in a few words; empty if that is unknown."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    words = describe_file(head)
    tools = {"a ZIP": "a ZIP, as PyTorch and Keras save models", "an HDF5 file": "an HDF5 file, as Keras saves models"}
    return "" if words in ("unknown", "text") else tools.get(words, words)


def _exported_info(xml: Path) -> ModelInfo:
    """The metadata beside an OpenVINO export, whose files are checked against it. Raises ModelFileError."""
    place = xml.with_name(OPENVINO_INFO)
    try:
        raw = json.loads(place.read_text("utf-8"))
        for name, expected in raw["files"].items():
            if hashlib.sha256(xml.with_name(Path(name).name).read_bytes()).hexdigest() != expected:
                raise ModelFileError(f"{xml.with_name(name)}: is not the file that {place} describes; export it again")
        return ModelInfo(
            name=raw["model"],
            labels=tuple(raw["labels"]),
            size=raw["input"]["size"],
            channels=raw["input"]["channels"],
            crop=CropSpec(**raw["crop"]),
            target=raw["target"],
            temperature=raw["temperature"],
            data=raw["data"],
            licence=raw["licence"],
            prior=tuple(raw.get("prior", ())),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelFileError(
            f"{place}: can't be read ({error!r}); expected the folder that `mien export MODEL openvino` made"
        ) from error


def split_models(name: str) -> tuple[str, ...]:
    """The parts of `A+B`, which names the ensemble of several models; a single name is its only part.

    A file whose name has a plus in it is one model. Raises ModelFileError where a part is empty.
    """
    if "+" not in name or find_model(name) or Path(name).exists():
        return (name,)
    parts = tuple(part.strip() for part in name.split("+"))
    if not all(parts):
        raise ModelFileError(f"{name}: no such model file; an ensemble is named like  mien-small+mien-nano")
    return parts


def open_models(models: str | Path | ModelFile | Sequence[str | Path | ModelFile]) -> list[ModelFile]:
    """Opens one model or several; `A+B` is two. Models that are open already stay as they are."""
    several = [models] if isinstance(models, str | Path | ModelFile) else models
    opened: list[ModelFile] = []
    for model in several:
        parts = split_models(model) if isinstance(model, str) else (model,)
        opened += [part if isinstance(part, ModelFile) else load_model(part) for part in parts]
    return opened


def load_model(name_or_path: str | Path, *, threads: int = 0, spin: bool = True, device: str = "cpu") -> ModelFile:
    """Opens a model.

    Args:
        name_or_path: The name of a shipped or fetched model, or the path of a model file.
        threads: For the network; 0 lets onnxruntime choose.
        spin: Whether these threads wait busily for their next piece of work.
        device: `cpu`, `auto`, `cuda`, ...: see `mien.inference.DEVICES`.

    Returns:
        The model: uint8 face crops in, calibrated probabilities out, at balance 0 (see `mien.balance`).

    Raises:
        ModelFileError: There is no such model, or it is not mien's.
        DeviceError: The device is unknown.

    Examples:
        >>> import mien
        >>> mien.load_model("mien-nano").info.labels[:3]
        ('angry', 'disgust', 'fear')
    """
    return ModelFile(name_or_path, threads=threads, spin=spin, device=device)
