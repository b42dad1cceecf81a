"""The contract of every network: a trunk that turns faces into features; a caller's own module as one."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.training.weights.layout import Layout


class Trunk(nn.Module):
    """Faces -> features; what every row of the table of networks builds.

    A builder takes (settings: NetworkSettings, channels of the input, resolution of the input). `channels`: those of
    the trunk's input; grey faces are repeated for 3. `features`: the length of the output. `mean`, `std`:
    per channel (or one for all) in the range 0-255, how input is normalised before the trunk sees it.
    """

    def __init__(
        self, *, channels: int, features: int, mean: tuple[float, ...] = (127.5,), std: tuple[float, ...] = (63.75,)
    ) -> None:
        super().__init__()
        self.channels, self.features, self.mean, self.std = channels, features, mean, std

    def stages(self) -> tuple[nn.Module, ...]:
        """The trunk's stages from input to output, for freezing, layer decay and class-activation maps.

        Each is called once in a forward pass and gives a feature map (N, C, H, W). Parameters that come after the last
        stage count to it, those before the first to that.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """float (N, channels, R, R), normalised -> float (N, features)."""
        raise NotImplementedError

    def load_pretrained(self, name: str) -> None:
        """Fills the trunk with published weights: what `network.weights` calls `imagenet` or `faces`.

        Raises RecipeError where there are none of that name.
        """
        raise RecipeError(f"network.weights is '{name}', but this network has no such weights of its own; give a file")

    def layouts(self) -> tuple[Layout, ...]:
        """The ways in which others have published weights for it; none where nobody has."""
        return ()

    def initialise(self, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
        """He's initialisation (2015) of all convolutions, for trunks that start from nothing.

        mode: what keeps its size, the signal on its way in or the gradient on its way back; with depthwise
        convolutions it must be the signal.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class StagedTrunk(Trunk):
    """A trunk of a stem, stages of blocks in sequence and, if nothing else is said, global average pooling."""

    stem: nn.Module
    blocks: nn.Sequential

    def stages(self) -> tuple[nn.Module, ...]:
        """The stem, then the stages."""
        return (self.stem, *self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """float (N, channels, R, R) -> (N, features)."""
        maps: Tensor = self.blocks(self.stem(x))
        return maps.mean((2, 3))


def require_resolution(kind: str, resolution: int, least: int) -> None:
    """Raises RecipeError where a network would see fewer pixels than it can take."""
    if resolution < least:
        raise RecipeError(
            f"network.kind '{kind}' can't take less than {least} pixels and would see {resolution}; "
            f"raise input.view, or set input.resolution={least} or more"
        )


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
