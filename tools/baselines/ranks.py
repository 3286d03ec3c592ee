"""Ranks: one process, or as many as torchrun started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many this process is, and where it computes."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this one prints and writes."""
        return self.rank == 0

    def mean(self, value: torch.Tensor) -> float:
        """Of one number of each rank."""
        value = value.detach().double().cpu() if self.device.type == "cpu" else value.detach().double()
        if self.world > 1:
            dist.all_reduce(value)
        return float(value) / self.world

    def gathered(self, value: Any) -> list[Any]:
        """One of each rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values


@contextmanager
def joined_ranks(*, cpu: bool = False) -> Iterator[Ranks]:
    """Joins the group that torchrun's environment describes, if there is one, until the end of the block."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    has_gpu = torch.cuda.is_available() and not cpu
    device = torch.device("cuda", local) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    if world == 1:
        yield Ranks(0, 1, device)
        return
    dist.init_process_group("nccl" if has_gpu else "gloo")
    try:
        yield Ranks(dist.get_rank(), world, device)
    finally:
        dist.destroy_process_group()
