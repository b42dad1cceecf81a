"""The settings of an audit: the only place of their defaults, light enough for the help of the command line."""

from __future__ import annotations

from dataclasses import dataclass

RECIPE = "audit"
"""The shipped recipe of the quick network that finds likely wrong labels."""


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What decides an audit's outcome, apart from the data.

    near: the most bits in which the perceptual hashes of near copies differ; None for exact copies only.
    low_contrast: images whose grey levels (0 to 255) have a smaller standard deviation are flagged; of FER2013's faces
    99 in 100 have 25 or more. recipe: the quick network's, as TOML; '' without suspects. folds: of its out-of-fold
    predictions, where there are any.
    """

    near: int | None = 8
    low_contrast: float = 12.0
    recipe: str = ""
    folds: int = 4


DEFAULTS = AuditSettings()
"""The defaults; a class with slots does not show them itself."""
