"""A module of the caller's as a trunk."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.training.networks.trunk import Trunk


class OwnTrunk(Trunk):
    """A module that turns faces, float (N, channels, R, R) of about -2 to 2, into features (N, F) or maps (N, F, H, W).

    Maps are averaged. Its stages are the children that give maps, each once.
    """

    def __init__(self, module: nn.Module, name: str, channels: int, resolution: int) -> None:
        given: list[nn.Module] = []

        def seen(child: nn.Module, _: Any, out: Any) -> None:
            if isinstance(out, Tensor) and out.ndim == 4:
                given.append(child)

        hooks = [child.register_forward_hook(seen) for child in module.children()]
        shape = (channels, resolution, resolution)
        try:
            with torch.no_grad():
                features = module.eval()(torch.zeros(2, *shape))
        except Exception as error:  # of the caller's code
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise RecipeError(
                f"network: {name} fails on faces of shape {shape} ({first}); set input, as input={{'channels': 3}}"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
        module.train()
        if not isinstance(features, Tensor) or features.ndim not in (2, 4) or len(features) != 2:
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise RecipeError(f"network: {name} gives {got} for 2 faces; expected features (2, F) or maps (2, F, H, W)")
        super().__init__(channels=channels, features=int(features.shape[1]))
        self.net = module
        once = [child for child in given if given.count(child) == 1 and any(True for _ in child.parameters())]
        self._stages = tuple(once) or (module,)

    def stages(self) -> tuple[nn.Module, ...]:
        """The children that give maps and have weights; without any, the module itself."""
        return self._stages

    def forward(self, x: Tensor) -> Tensor:
        """float (N, channels, R, R) -> (N, features)."""
        features: Tensor = self.net(x)
        return features.mean((2, 3)) if features.ndim == 4 else features
