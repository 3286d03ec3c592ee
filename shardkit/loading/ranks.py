"""Which rank of how many this process is."""

import os
from dataclasses import dataclass

import torch.distributed

from shardkit.errors import UsageError


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place among those that train together."""

    rank: int
    world: int


def resolve_ranks() -> Ranks:
    """Rank and world size from torch.distributed, if it is initialised; else (0, 1).

    Raises:
        UsageError: WORLD_SIZE says that there are several ranks, and torch.distributed is not initialised.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
    world = os.environ.get("WORLD_SIZE", "1")
    if world != "1":
        raise UsageError(
            f"WORLD_SIZE is {world}, but torch.distributed is not initialised: every rank would get all clips; "
            "call torch.distributed.init_process_group() before the first batch",
        )
    return Ranks(0, 1)


def local_world_size() -> int:
    """Ranks on this machine, as torchrun says.

    Lightning's own launcher says only how many there are in all: no more than one a GPU of them are here.
    """
    local = _count("LOCAL_WORLD_SIZE")
    if local:
        return local
    world = world_size()
    return min(world, torch.cuda.device_count() or world)


def node_count() -> int:
    """Machines that train together, as torchrun says; they have equally many ranks.

    Raises:
        UsageError: It does not say, or they have not.
    """
    world, local = world_size(), _count("LOCAL_WORLD_SIZE")
    if world == 1:
        return 1
    if not local or world % local:
        raise UsageError(
            f"locality='node': WORLD_SIZE is {world} and LOCAL_WORLD_SIZE {local or 'not set'}; every node must have "
            "equally many ranks, and the launcher say how many (torchrun does)"
        )
    return world // local


def world_size() -> int:
    """Ranks in all, as the launcher says."""
    return _count("WORLD_SIZE") or 1


def _count(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0
