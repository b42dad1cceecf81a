"""Processes that train one network together, as `torchrun` starts them; in a single process, this module does nothing.

Each takes its part of every batch. Gradients are summed, so every worker takes the same step and has the same
weights. Batch-norm statistics are each worker's own within an epoch, and averaged at its end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mien.errors import TrainingError
from mien.training.before_torch import is_first_worker


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """This process among those that train together: `rank` of `count`. Only rank 0 writes."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replaces each tensor by its sum over all workers. Raises TrainingError where one of them is gone."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])
        try:
            dist.all_reduce(flat)
        except RuntimeError as error:
            raise TrainingError("another worker ended early; continue with the same command and --resume") from (error)
        start = 0
        with torch.no_grad():
            for tensor in tensors:
                tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
                start += tensor.numel()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of the workers."""
        total = torch.tensor([float(flag)])
        self.add_up([total])
        return bool(total > 0)

    def average_buffers(self, module: nn.Module) -> None:
        """Replaces batch statistics by their mean over all workers."""
        if self.count == 1:
            return
        buffers = [buffer for buffer in module.buffers() if buffer.dtype.is_floating_point]
        self.add_up(buffers)
        for buffer in buffers:
            buffer.div_(self.count)


ALONE = WorkerGroup()


@contextmanager
def joined(device: torch.device) -> Iterator[WorkerGroup]:
    """The workers that torchrun started, connected while the block runs; `ALONE` where this is an ordinary process."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or not dist.is_available():
        yield ALONE
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield WorkerGroup(dist.get_rank(), count)
    finally:
        dist.destroy_process_group()


def local_device() -> int:
    """The number of the device that torchrun gave this process on its machine; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def leave_unless_first() -> None:
    """Ends a process that torchrun started, except the first: its work is done.

    Without taking down the interpreter, where PyTorch's threads abort now and then: torchrun would take that for a
    failed training, and stop the first worker while it writes the models.
    """
    if not is_first_worker():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
