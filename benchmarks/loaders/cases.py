"""What is measured: a contestant on a stored shape, with a decoder, beside a consumer."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal

Stored = Literal["square", "short", "raw", "h264", "thin"]
"""How clips are stored: JPEG at the side wanted, JPEG with more to crop from, raw RGB or H.264 at the side wanted.
`thin` is for benchmarks/storage: raw RGB so small that a clip has the bytes of a `square` one, nothing to decode."""
Decoder = Literal["turbo", "decord", "spdl"]
"""libjpeg-turbo on the JPEG packets, decord on the video file, or SPDL's own FFmpeg on it."""

BURNS_MS = (12, 25)
"""Python that a consumer burns a batch."""
PEERS = ("spdl", "webdataset", "litdata", "energon", "torch")
"""Loaders that read the packed frames, set up as their documentation advises. Besides there are `originals`, which
decodes the source files, and `spdl-tuned`, which shows what SPDL's engine can do for somebody who goes further."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure."""

    contestant: str
    stored: Stored
    decoder: Decoder
    burn_ms: int = 0
    """CPU time that the consumer spends in Python on each batch."""

    @property
    def name(self) -> str:
        """As in `webdataset-decord@square`, or `shardkit-turbo@square+12ms`."""
        burn = f"+{self.burn_ms}ms" if self.burn_ms else ""
        return f"{self.contestant}-{self.decoder}@{self.stored}{burn}"


def all_cases() -> list[Case]:
    """Every case; those whose ratio is taken stand close to each other, since a machine's speed drifts."""
    shapes: tuple[Stored, ...] = ("square", "short")
    return [case for stored in shapes for case in _of_jpeg(stored)] + [
        Case("shardkit", "h264", "turbo"),
        Case("webdataset", "h264", "decord"),
    ]


def _of_jpeg(stored: Stored) -> list[Case]:
    cases = [Case("bare", stored, "turbo"), Case("shardkit", stored, "turbo"), Case("spdl", stored, "spdl")]
    cases += [Case(peer, stored, "turbo") for peer in PEERS]
    cases.append(Case("spdl-tuned", stored, "turbo"))
    if stored == "square":
        # shardkit takes libjpeg-turbo for JPEG only: `turbo` is its default path, whatever is stored.
        cases.append(Case("shardkit", "raw", "turbo"))
        cases += [Case("shardkit", stored, "turbo", burn_ms) for burn_ms in BURNS_MS]
        cases.append(Case("originals", stored, "decord"))
    cases.append(Case("spdl-tuned", stored, "decord"))
    cases += [Case(peer, stored, "decord") for peer in reversed(PEERS)]
    return [*cases, Case("shardkit", stored, "decord"), Case("bare", stored, "decord")]


def chosen_cases(patterns: list[str]) -> list[Case]:
    """The cases whose names fit one of the patterns, in the order of `all_cases`.

    Raises:
        SystemExit: A pattern fits none.
    """
    cases = {case.name: case for case in all_cases()}
    return [cases[name] for name in chosen_names(list(cases), patterns)]


def chosen_names(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The names that fit one of the patterns.

    Raises:
        SystemExit: A pattern fits none.
    """
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise SystemExit(f"--cases {pattern!r} fits none of {', '.join(names)}")
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
