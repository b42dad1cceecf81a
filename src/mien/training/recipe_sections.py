"""The sections of a training recipe: frozen dataclasses that check their values."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from mien.training.network_table import NETWORKS, TIMM


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
    """

    size: int = 48
    view: int = 44
    channels: Literal[1, 3] = 1
    resolution: int = 0
    test_view: int = 0

    @property
    def enlarged(self) -> int:
        """How wide the view is when it comes to the network."""
        return self.resolution or self.view

    @property
    def seen(self) -> int:
        """The central pixels that the network sees outside training."""
        return self.test_view or self.view

    def __post_init__(self) -> None:
        check(16 <= self.size <= 512, f"size is {self.size}; expected 16 to 512")
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
    stem: int = 16
    widths: tuple[int, ...] = (48, 96, 128, 256)
    depths: tuple[int, ...] = ()
    squeeze: bool = False
    dense: int = 0
    head_norm: bool = False
    dropout: float = 0.2
    weights: str = ""
    grow: bool = False
    interpolate: bool = False
    interpolate_most: float = 1.0

    def __post_init__(self) -> None:
        known = self.kind in NETWORKS or self.kind.startswith(TIMM)
        near = difflib.get_close_matches(self.kind, NETWORKS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"see `mien networks`, or {TIMM}NAME"
        check(known, f"kind is '{self.kind}', no network that is known; {hint}")
        check(self.stem >= 1, f"stem is {self.stem}; expected at least 1")
        check(1 <= len(self.widths) <= 5, f"widths has {len(self.widths)} entries; expected 1 to 5")
        check(all(w >= 1 for w in self.widths), "widths: each must be at least 1")
        check(
            not self.depths or len(self.depths) == len(self.widths),
            f"depths has {len(self.depths)} entries; expected one for each of widths ({len(self.widths)}), or none",
        )
        check(all(d >= 1 for d in self.depths), "depths: each must be at least 1")
        check(self.dense >= 0, f"dense is {self.dense}; expected 0 or more")
        check(0 <= self.dropout < 1, f"dropout is {self.dropout}; expected 0 <= dropout < 1")
        check(bool(self.weights) or not self.interpolate, "interpolate is true, but weights names no file")
        most = self.interpolate_most
        check(0 <= most <= 1, f"interpolate_most is {most}; expected 0 to 1")
        check(not (self.grow and self.interpolate), "grow and interpolate are both true; what is new has no start")
        check(
            self.weights not in ("", *PRETRAINED) or not self.grow,
            f"grow is true, but weights is '{self.weights}'; expected a smaller network's .safetensors or model file",
        )


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """What of a pretrained network is trained. Frozen stages also keep the statistics of their batch norms.

    `stages`: the trunk's last stages that are trained with the head; -1 all, 0 the head alone.
    `head_epochs`: first epochs, in which only the head is trained. `layer_decay`: each stage learns at this share of
    the rate of the one after it; 1 the same everywhere.
    """

    stages: int = -1
    head_epochs: int = 0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        check(self.stages >= -1, f"stages is {self.stages}; expected 0 or more, or -1 for all")
        check(self.head_epochs >= 0, f"head_epochs is {self.head_epochs}; expected 0 or more")
        check(0 < self.layer_decay <= 1, f"layer_decay is {self.layer_decay}; expected above 0 to 1")


@dataclass(frozen=True, slots=True)
class DataSettings:
    """The part of the data set for training.

    `labels`: only samples of these, in this order; empty for all. `subset`: this many training samples, drawn with
    the recipe's seed, classes in proportion; 0 for all. `sampling`: `balanced` draws every class equally often.
    """

    labels: tuple[str, ...] = ()
    subset: int = 0
    sampling: Literal["natural", "balanced"] = "natural"

    def __post_init__(self) -> None:
        check(len(self.labels) != 1, "labels has one entry; expected two or more, or none for all")
        check(len(set(self.labels)) == len(self.labels), "labels: each may stand there once")
        check(self.subset >= 0, f"subset is {self.subset}; expected 0 or more")


@dataclass(frozen=True, slots=True)
class LossSettings:
    """The loss of a face's target and the network's output.

    `focal`: faces that are easy already count less, by (1 - p)^gamma (Lin et al. 2017). `class_weights`: `balanced`
    weighs classes by the inverse of their count, `effective` by that of their effective number (Cui et al. 2019).
    `logit_adjust`: tau of Menon et al. 2021, which optimises the balanced error; 0 turns it off. It holds
    for `logit_adjust_heads`: the probabilities of an adjusted `votes` head are no longer shares of raters.
    """

    kind: Literal["cross-entropy", "focal"] = "cross-entropy"
    gamma: float = 2.0
    class_weights: Literal["none", "balanced", "effective"] = "none"
    logit_adjust: float = 0.0
    logit_adjust_heads: tuple[Literal["label", "votes"], ...] = ("label", "votes")

    def __post_init__(self) -> None:
        check(self.gamma >= 0, f"gamma is {self.gamma}; expected 0 or more")
        check(self.logit_adjust >= 0, f"logit_adjust is {self.logit_adjust}; expected 0 or more")


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """The targets. Each weight above 0 makes a head on the shared trunk, and its own model file.

    `label`: the data set's labels, smoothed, and blended with the vote distribution by `label_blend`.
    `votes`: the distribution of FER+ votes over eight expressions.
    """

    label: float = 1.0
    votes: float = 0.0
    label_smoothing: float = 0.1
    label_blend: float = 0.0

    def __post_init__(self) -> None:
        check(self.label >= 0 and self.votes >= 0, "label and votes: expected weights of 0 or more")
        check(self.label + self.votes > 0, "label and votes are both 0; at least one must be learned")
        check(0 <= self.label_smoothing < 1, f"label_smoothing is {self.label_smoothing}; expected 0 to below 1")
        check(0 <= self.label_blend <= 1, f"label_blend is {self.label_blend}; expected 0 to 1")


@dataclass(frozen=True, slots=True)
class DistillSettings:
    """Soft outputs of other model files as targets: each teacher teaches the head that has its labels."""

    teachers: tuple[str, ...] = ()
    weight: float = 0.5
    views: int = 8

    def __post_init__(self) -> None:
        check(0 <= self.weight <= 1, f"weight is {self.weight}; expected 0 to 1")
        check(self.views >= 1, f"views is {self.views}; expected at least 1")


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
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 128
    accumulate: int = 1
    epochs: int = 40
    warmup_epochs: float = 3.0
    schedule: Literal["cosine", "warm-restarts", "one-cycle", "plateau", "constant"] = "cosine"
    restarts: int = 3
    plateau_patience: int = 5
    plateau_factor: float = 0.5
    stop_after: int = 0
    ema: float = 0.998
    norm_batches: int = 0
    sam_rho: float = 0.0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        check(self.learning_rate > 0, f"learning_rate is {self.learning_rate}; expected above 0")
        check(0 <= self.momentum < 1, f"momentum is {self.momentum}; expected 0 to below 1")
        check(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; expected 0 or more")
        check(self.batch_size >= 2, f"batch_size is {self.batch_size}; expected at least 2")
        check(self.accumulate >= 1, f"accumulate is {self.accumulate}; expected at least 1")
        check(self.accumulate == 1 or self.sam_rho == 0, "accumulate and sam_rho don't go together; set one of them")
        check(self.epochs >= 1, f"epochs is {self.epochs}; expected at least 1")
        check(
            0 <= self.warmup_epochs <= self.epochs,
            f"warmup_epochs is {self.warmup_epochs}; expected 0 to epochs ({self.epochs}): lower it, or raise epochs",
        )
        check(1 <= self.restarts <= 8, f"restarts is {self.restarts}; expected 1 to 8")
        check(self.plateau_patience >= 1, f"plateau_patience is {self.plateau_patience}; expected at least 1")
        check(0 < self.plateau_factor < 1, f"plateau_factor is {self.plateau_factor}; expected between 0 and 1")
        check(self.stop_after >= 0, f"stop_after is {self.stop_after}; expected 0 or more")
        check(0 <= self.ema < 1, f"ema is {self.ema}; expected 0 to below 1")
        check(self.norm_batches >= 0, f"norm_batches is {self.norm_batches}; expected 0 or more")
        check(self.sam_rho >= 0, f"sam_rho is {self.sam_rho}; expected 0 or more")
        check(self.clip_norm >= 0, f"clip_norm is {self.clip_norm}; expected 0 or more")


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """Random changes of each face, drawn for every batch. Shares are of the face's side; 0 turns one off.

    In a recipe, `level = "none" | "low" | "mid" | "high"` sets them all; further keys change single ones.
    `scale` zooms in and out; `blur` (the largest standard deviation), `dim` (the largest share of the light that is
    missing) and `noise` (the largest standard deviation, grey levels of 255) change every other face; `erase` is a
    probability; `mixup` and `cutmix` are the alpha of the blending of two faces (with both, each batch takes one of
    them). `off_for_last`: share of the epochs, at the end, without that blending.
    """

    flip: bool = True
    rotate_deg: float = 12.0
    scale: float = 0.15
    shift: float = 0.12
    shear_deg: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.3
    blur: float = 0.0
    dim: float = 0.0
    noise: float = 0.0
    erase: float = 0.3
    mixup: float = 0.0
    cutmix: float = 0.0
    off_for_last: float = 0.0

    def __post_init__(self) -> None:
        check(0 <= self.rotate_deg <= 180, f"rotate_deg is {self.rotate_deg}; expected 0 to 180")
        check(0 <= self.shear_deg <= 45, f"shear_deg is {self.shear_deg}; expected 0 to 45")
        for name in ("scale", "shift", "brightness", "contrast", "blur", "dim"):
            check(0 <= getattr(self, name) < 1, f"{name} is {getattr(self, name)}; expected 0 to below 1")
        check(0 <= self.noise <= 255, f"noise is {self.noise}; expected grey levels, 0 to 255")
        check(0 <= self.erase <= 1, f"erase is {self.erase}; expected a probability")
        check(self.mixup >= 0, f"mixup is {self.mixup}; expected 0 or more")
        check(self.cutmix >= 0, f"cutmix is {self.cutmix}; expected 0 or more")
        check(0 <= self.off_for_last <= 1, f"off_for_last is {self.off_for_last}; expected a share of the epochs")


LEVELS: dict[str, AugmentSettings] = {
    "none": AugmentSettings(flip=False, rotate_deg=0.0, scale=0.0, shift=0.0, brightness=0.0, contrast=0.0, erase=0.0),
    "low": AugmentSettings(rotate_deg=5.0, scale=0.05, shift=0.05, brightness=0.0, contrast=0.0, erase=0.0),
    "mid": AugmentSettings(erase=0.0),
    "high": AugmentSettings(rotate_deg=20.0, scale=0.25, shift=0.16, brightness=0.3, contrast=0.5, erase=0.5),
}
"""Levels of augmentation, from none in three steps: for previews, and as a start for recipes."""
