"""Parts: which shards of a plan a job of a cluster packs, when several jobs share the work."""

import re
from dataclasses import dataclass

from shardkit.errors import UsageError


@dataclass(frozen=True, slots=True)
class Part:
    """One of `count` equal shares of a plan's shards, from 1 on."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(
                f"part {self.number}/{self.count}: parts are numbered from 1/{self.count} on; give one of them"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def shards(self, shard_count: int) -> range:
        """Its shards: every `count`-th from `number - 1` on. Parts differ by one shard at most.

        Example:
            >>> [list(Part(number, 3).shards(8)) for number in (1, 2, 3)]
            [[0, 3, 6], [1, 4, 7], [2, 5]]
        """
        return range(self.number - 1, shard_count, self.count)


def part_of_shard(shard: int, count: int) -> Part:
    """The part, of `count`, that packs a shard."""
    return Part(shard % count + 1, count)


def parse_part(given: str | tuple[int, int]) -> Part:
    """A part from `3/16` or (3, 16).

    Raises:
        UsageError: It is neither.
    """
    if isinstance(given, str):
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", given)
        if match is None:
            raise UsageError(f"part {given!r}: a number and a count are needed, such as 3/16")
        return Part(int(match[1]), int(match[2]))
    if not (isinstance(given, tuple) and len(given) == 2 and all(type(value) is int for value in given)):
        raise UsageError(f"part={given!r}: a number and a count are needed, such as (3, 16)")
    return Part(*given)
