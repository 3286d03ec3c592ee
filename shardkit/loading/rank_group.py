"""RankGroup: the ranks of one command that torchrun started, which measure together and tell each other."""

import os
import socket
from datetime import timedelta
from types import TracebackType
from typing import Any

import torch.distributed as dist

from shardkit.loading.ranks import world_size

TIMEOUT = timedelta(minutes=30)
"""The longest that one rank may wait for another."""


class RankGroup:
    """All ranks, joined as long as it is open; one that torchrun did not start is alone."""

    def __init__(self) -> None:
        self.is_alone = world_size() == 1
        self._joined = False

    def __enter__(self) -> "RankGroup":
        if not self.is_alone and not dist.is_initialized():
            dist.init_process_group("gloo", timeout=TIMEOUT)
            self._joined = True
        return self

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that speaks for all."""
        return self.is_alone or dist.get_rank() == 0

    def gather(self, told: Any) -> list[Any]:
        """What all ranks tell, by rank; each waits for all."""
        if self.is_alone:
            return [told]
        gathered: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, told)
        return gathered

    @staticmethod
    def node() -> str:
        """This machine's name; with the number of torchrun's group, where there are several on it."""
        group = os.environ.get("GROUP_RANK", "0")
        return f"{socket.gethostname()}:{group}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._joined and error is None:
            dist.destroy_process_group()
