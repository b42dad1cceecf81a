"""The sections of a training recipe: frozen dataclasses that check their values."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Annotated, Literal

from mien.config import InRange, check_ranges, within
from mien.training.network_table import NETWORKS, OWN, TIMM


def check(condition: bool, message: str) -> None:
    """Raises ValueError, which `from_table` turns into a RecipeError that names the key."""
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class InputSettings:
    """Faces as the model file takes them (`size` square), of which the network receives the central `view` pixels.

    `resolution`: what the view is enlarged to before a network that was made for larger images; 0 leaves it.
    `test_view`: the central pixels outside training, enlarged by the same factor; 0 for `view`. More of the face than
    in training is better for some networks (FixRes, Touvron et al. 2019, arXiv:1906.06423).
    `fit`: take the size and the colours of the data, where all their faces are alike; size, view and channels are then
    for others. Whoever sets `size` turns it off.
    """

    size: Annotated[int, within(16, 512)] = 48
    view: int = 44
    channels: Literal[1, 3] = 1
    resolution: int = 0
    test_view: int = 0
    least_contrast: Annotated[float, within(0, 127)] = 0.0
    fit: bool = False

    @property
    def enlarged(self) -> int:
        """How wide the view is when it comes to the network."""
        return self.resolution or self.view

    @property
    def seen(self) -> int:
        """The central pixels that the network sees outside training."""
        return self.test_view or self.view

    def __post_init__(self) -> None:
        check_ranges(self)
        check(16 <= self.view <= self.size, f"view is {self.view}; expected 16 to size ({self.size})")
        check(
            self.resolution == 0 or 16 <= self.resolution <= 512,
            f"resolution is {self.resolution}; expected 16 to 512, or 0 for the view's own",
        )
        check(
            self.test_view == 0 or 16 <= self.test_view <= self.size,
            f"test_view is {self.test_view}; expected 16 to size ({self.size}), or 0 for the view's own",
        )


PRETRAINED = ("imagenet", "faces")
"""Values of `network.weights` that a trunk provides; others are files, or shipped models by name."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Which network: a row of `mien networks`, or `timm:NAME` for any network of timm; and the head on it.

    The row's own settings (`mien networks NAME`) are the defaults, before those here.
    `stem`, `widths`, `depths` and `squeeze` (squeeze-excitation) are used by residual networks only.
    `dense`: units of a dense layer before the heads, 0 for none. `head_norm`: batch norm there. `dropout`: before them.
    `weights`: what to start from. Empty: nothing. `imagenet` or `faces`: what the row's source offers, from an
    installed package or, for timm, from its hub. Else a safetensors file of a network that is equal but for its heads
    (several, separated by commas: their mean), or a model file of a residual network (.onnx, or a shipped model's
    name), whose labels are matched by name.
    `grow`: the weights are those of a residual network that is smaller, in width or depth; this one starts as its copy.
    `interpolate`: after training, take the best point between those weights and the new ones, by validation accuracy;
    `interpolate_most`: with at most this share of the new ones.
    """

    kind: str = "resnet"
    stem: Annotated[int, within(1)] = 16
    widths: Annotated[tuple[int, ...], within(1)] = (48, 96, 128, 256)
    depths: Annotated[tuple[int, ...], within(1)] = ()
    squeeze: bool = False
    dense: Annotated[int, within(0)] = 0
    head_norm: bool = False
    dropout: Annotated[float, within(0, below=1)] = 0.2
    weights: str = ""
    grow: bool = False
    interpolate: bool = False
    interpolate_most: Annotated[float, within(0, 1)] = 1.0

    def __post_init__(self) -> None:
        check_ranges(self)
        known = self.kind in NETWORKS or self.kind.startswith((TIMM, OWN))
        near = difflib.get_close_matches(self.kind, NETWORKS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"see `mien networks`, or {TIMM}NAME"
        check(known, f"kind is '{self.kind}', no network that is known; {hint}")
        check(1 <= len(self.widths) <= 5, f"widths has {len(self.widths)} entries; expected 1 to 5")
        check(
            not self.depths or len(self.depths) == len(self.widths),
            f"depths has {len(self.depths)} entries; expected one for each of widths ({len(self.widths)}), or none",
        )
        check(bool(self.weights) or not self.interpolate, "interpolate is true, but weights names no file")
        check(not (self.grow and self.interpolate), "grow and interpolate are both true; what is new has no start")
        check(
            self.weights not in ("", *PRETRAINED) or not self.grow,
            f"grow is true, but weights is '{self.weights}'; expected a smaller network's .safetensors or model file",
        )


@dataclass(frozen=True, slots=True)
class FinetuneSettings(InRange):
    """What of a pretrained network is trained. Frozen stages also keep the statistics of their batch norms.

    `stages`: the trunk's last stages that are trained with the head; -1 all, 0 the head alone.
    `head_epochs`: first epochs, in which only the head is trained. `layer_decay`: each stage learns at this share of
    the rate of the one after it; 1 the same everywhere.
    """

    stages: Annotated[int, within(-1)] = -1
    head_epochs: Annotated[int, within(0)] = 0
    layer_decay: Annotated[float, within(0, 1, open=True)] = 1.0


@dataclass(frozen=True, slots=True)
class DataSettings:
    """The part of the data set for training.

    `labels`: only samples of these, in this order; empty for all. `subset`: this many training samples, drawn with
    the recipe's seed, classes in proportion; 0 for all. `sampling`: `balanced` draws every class equally often.
    """

    labels: tuple[str, ...] = ()
    subset: Annotated[int, within(0)] = 0
    sampling: Literal["natural", "balanced"] = "natural"

    def __post_init__(self) -> None:
        check_ranges(self)
        check(len(self.labels) != 1, "labels has one entry; expected two or more, or none for all")
        check(len(set(self.labels)) == len(self.labels), "labels: each may stand there once")


@dataclass(frozen=True, slots=True)
class LossSettings(InRange):
    """The loss of a face's target and the network's output.

    `focal`: faces that are easy already count less, by (1 - p)^gamma (Lin et al. 2017). `class_weights`: `balanced`
    weighs classes by the inverse of their count, `effective` by that of their effective number (Cui et al. 2019).
    `logit_adjust`: tau of Menon et al. 2021, which optimises the balanced error; 0 turns it off. It holds
    for `logit_adjust_heads`: the probabilities of an adjusted `votes` head are no longer shares of raters.
    """

    kind: Literal["cross-entropy", "focal"] = "cross-entropy"
    gamma: Annotated[float, within(0)] = 2.0
    class_weights: Literal["none", "balanced", "effective"] = "none"
    logit_adjust: Annotated[float, within(0)] = 0.0
    logit_adjust_heads: tuple[Literal["label", "votes"], ...] = ("label", "votes")


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """The targets. Each weight above 0 makes a head on the shared trunk, and its own model file.

    `label`: the data set's labels, smoothed, and blended with the vote distribution by `label_blend`.
    `votes`: the distribution of FER+ votes over eight expressions.
    """

    label: Annotated[float, within(0)] = 1.0
    votes: Annotated[float, within(0)] = 0.0
    label_smoothing: Annotated[float, within(0, below=1)] = 0.1
    label_blend: Annotated[float, within(0, 1)] = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)
        check(self.label + self.votes > 0, "label and votes are both 0; at least one must be learned")


@dataclass(frozen=True, slots=True)
class DistillSettings(InRange):
    """Soft outputs of other models as targets: each teacher teaches the head that has its labels.

    `teachers`: model files, shipped models, or folders of runs, whose model files all teach. Each classifies every
    face once, as the mean of `views`. `each_view`: they classify what the student sees instead, in every step; for
    networks of mien alone.
    """

    teachers: tuple[str, ...] = ()
    weight: Annotated[float, within(0, 1)] = 0.5
    views: Annotated[int, within(1)] = 8
    each_view: bool = False


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """Optimiser and schedule of the learning rate, after a linear warm-up.

    `schedule`: `cosine` to zero; `warm-restarts`: `restarts` cosines, each twice as long as the one before;
    `one-cycle`: up for 0.3 of the steps, then down (Smith 2018), without a separate warm-up; `plateau`: times
    `plateau_factor` when the best validation loss is `plateau_patience` epochs old; `constant`.
    `stop_after`: ends the run when the best validation accuracy is this many epochs old; 0 never.
    `accumulate`: batches whose gradients make one step; the effective batch is batch_size * accumulate.
    `ema`: decay per step of the moving average of weights and batch-norm statistics, which is what is kept.
    `norm_batches`: before each validation, the average's batch-norm statistics are re-measured over this many
    batches, as training sees the faces or, with `input.test_view`, as they are seen afterwards.
    """

    kind: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: Annotated[float, within(0, open=True)] = 0.1
    momentum: Annotated[float, within(0, below=1)] = 0.9
    weight_decay: Annotated[float, within(0)] = 5e-4
    batch_size: Annotated[int, within(2)] = 128
    accumulate: Annotated[int, within(1)] = 1
    epochs: Annotated[int, within(1)] = 40
    warmup_epochs: float = 3.0
    schedule: Literal["cosine", "warm-restarts", "one-cycle", "plateau", "constant"] = "cosine"
    restarts: Annotated[int, within(1, 8)] = 3
    plateau_patience: Annotated[int, within(1)] = 5
    plateau_factor: Annotated[float, within(0, below=1, open=True)] = 0.5
    stop_after: Annotated[int, within(0)] = 0
    ema: Annotated[float, within(0, below=1)] = 0.998
    norm_batches: Annotated[int, within(0)] = 0
    sam_rho: Annotated[float, within(0)] = 0.0
    clip_norm: Annotated[float, within(0)] = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)
        check(self.accumulate == 1 or self.sam_rho == 0, "accumulate and sam_rho don't go together; set one of them")
        check(
            0 <= self.warmup_epochs <= self.epochs,
            f"warmup_epochs is {self.warmup_epochs}; expected 0 to epochs ({self.epochs}): lower it, or raise epochs",
        )


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """Random changes of each face, drawn for every batch. Shares are of the face's side; 0 turns one off.

    In a recipe, `level = "none" | "low" | "mid" | "high"` sets them all; further keys change single ones.
    `scale` zooms in and out; `gamma` 0.5 raises greys to powers from 1/1.5 to 1.5. Damage, at most so much, to every
    other face: `cover` (height of a grey bar over the mouth, the eyes or elsewhere), `blur` (standard deviation),
    `low_resolution` (share of the side that is lost), `dim` (share of the light that is missing), `noise` (standard
    deviation, grey levels of 255), `jpeg` (0.9: down to quality 10). With `spoilt`, that share of the faces gets one of
    these alone. `grain`: noise of dimmed faces, in grey levels at white. `erase` is a probability; `mixup` and `cutmix`
    are the alpha of the blending of two faces (with both, each batch takes one of them). `off_for_last`: share of the
    epochs, at the end, without that blending.
    """

    flip: bool = True
    rotate_deg: Annotated[float, within(0, 180)] = 12.0
    scale: float = 0.15
    shift: float = 0.12
    shear_deg: Annotated[float, within(0, 45)] = 0.0
    brightness: float = 0.2
    contrast: float = 0.3
    gamma: Annotated[float, within(0)] = 0.0
    cover: float = 0.0
    blur: float = 0.0
    low_resolution: float = 0.0
    dim: float = 0.0
    grain: Annotated[float, within(0, 255)] = 0.0
    noise: Annotated[float, within(0, 255)] = 0.0
    jpeg: float = 0.0
    spoilt: Annotated[float, within(0, 1)] = 0.0
    erase: Annotated[float, within(0, 1)] = 0.3
    mixup: Annotated[float, within(0)] = 0.0
    cutmix: Annotated[float, within(0)] = 0.0
    off_for_last: Annotated[float, within(0, 1)] = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)
        for name in ("scale", "shift", "brightness", "contrast", "cover", "blur", "low_resolution", "dim", "jpeg"):
            check(0 <= getattr(self, name) < 1, f"{name} is {getattr(self, name)}; expected 0 to below 1")


DAMAGE = ("cover", "blur", "low_resolution", "dim", "noise", "jpeg")
"""The keys of [augment] that damage a face, in the order in which a photograph suffers them."""

LEVELS: dict[str, AugmentSettings] = {
    "none": AugmentSettings(flip=False, rotate_deg=0.0, scale=0.0, shift=0.0, brightness=0.0, contrast=0.0, erase=0.0),
    "low": AugmentSettings(rotate_deg=5.0, scale=0.05, shift=0.05, brightness=0.0, contrast=0.0, erase=0.0),
    "mid": AugmentSettings(erase=0.0),
    "high": AugmentSettings(rotate_deg=20.0, scale=0.25, shift=0.16, brightness=0.3, contrast=0.5, erase=0.5),
}
"""Levels of augmentation, from none in three steps: for previews, and as a start for recipes."""
