"""The twelve steps of the ladder, from a frozen backbone to all of it: each is the one before plus one change.

They are recipes like the shipped files. One table makes all of them, so that they can't drift apart.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

from mien.config import with_overrides

BASE = """
seed = 1

[input]
size = 48
view = 48
fit = true
resolution = 112

[network]
kind = "efficientnet-lite0"
weights = "imagenet"
dropout = 0.2

[finetune]
stages = 0

[targets]
label = 1.0
votes = 0.0
label_smoothing = 0.0

[optimizer]
kind = "adam"
learning_rate = 1e-3
weight_decay = 0.0
batch_size = 32
epochs = 8
warmup_epochs = 0.0
schedule = "constant"
stop_after = 4
ema = 0.0

[augment]
level = "none"

[search]
"optimizer.learning_rate" = { low = 1e-5, high = 1e-3, log = true }
"network.dropout" = { low = 0.0, high = 0.5, step = 0.1 }
"augment.level" = ["none", "low", "mid", "high"]
"""
"""The first step. Whatever the backbone, each step changes only what its row names."""


@dataclass(frozen=True, slots=True)
class LadderStep:
    """One step: the recipe's name, what it changes in a few words, and that change as `key=value` overrides."""

    name: str
    change: str
    overrides: tuple[str, ...]


LADDER: tuple[LadderStep, ...] = (
    LadderStep("ladder-00", "backbone frozen, new head, Adam 1e-3", ()),
    LadderStep("ladder-01", "low augmentation", ('augment.level="low"',)),
    LadderStep("ladder-02", "last block learns, too, at 1e-4", ("finetune.stages=1", "optimizer.learning_rate=1e-4")),
    LadderStep("ladder-03", "high augmentation", ('augment.level="high"',)),
    LadderStep("ladder-04", "two blocks learn", ("finetune.stages=2",)),
    LadderStep("ladder-05", "a dense layer before the head", ("network.dense=128",)),
    LadderStep("ladder-06", "learning rate 1e-5", ("optimizer.learning_rate=1e-5",)),
    LadderStep("ladder-07", "mid augmentation", ('augment.level="mid"',)),
    LadderStep("ladder-08", "three blocks learn", ("finetune.stages=3",)),
    LadderStep("ladder-09", "all blocks learn", ("finetune.stages=-1",)),
    LadderStep("ladder-10", "batches of 128 instead of 32", ("optimizer.batch_size=128",)),
    LadderStep("ladder-11", "balanced class weights", ('loss.class_weights="balanced"',)),
)


def ladder_recipes() -> dict[str, dict[str, Any]]:
    """The steps as recipes: name -> parsed TOML table."""
    table: dict[str, Any] = tomllib.loads(BASE)
    recipes = {}
    for step in LADDER:
        table = with_overrides(table, step.overrides)
        recipes[step.name] = {"description": f"Ladder, step {step.name[-2:]}: {step.change}"} | table
    return recipes
