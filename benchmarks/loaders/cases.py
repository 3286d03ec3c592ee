"""What is measured: a contestant on a stored shape, with a decoder, beside a consumer."""

from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal

Stored = Literal["square", "short", "raw", "h264"]
"""How clips are stored: JPEG at the side wanted, JPEG with more to crop from, raw RGB or H.264 at the side wanted."""
Decoder = Literal["turbo", "decord", "spdl"]
"""libjpeg-turbo on the JPEG packets, decord on the video file, or SPDL's own FFmpeg on it."""

BURNS_MS = (12, 25)
"""Python that a consumer burns a batch."""
PEERS = ("webdataset", "litdata", "energon", "torch", "spdl")
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
    """Every case, those that are compared beside each other."""
    cases = []
    shapes: tuple[Stored, ...] = ("square", "short")
    for stored in shapes:
        cases.append(Case("bare", stored, "turbo"))
        cases.append(Case("shardkit", stored, "turbo"))
        if stored == "square":
            cases.extend(Case("shardkit", stored, "turbo", burn_ms) for burn_ms in BURNS_MS)
        cases.append(Case("shardkit", stored, "decord"))
        cases.append(Case("bare", stored, "decord"))
        for peer in PEERS:
            cases += [Case(peer, stored, "decord"), Case(peer, stored, "turbo")]
        cases += [
            Case("spdl", stored, "spdl"),
            Case("spdl-tuned", stored, "decord"),
            Case("spdl-tuned", stored, "turbo"),
        ]
    # shardkit takes libjpeg-turbo for JPEG only: `turbo` is its default path, whatever is stored.
    cases.append(Case("shardkit", "raw", "turbo"))
    cases += [Case("shardkit", "h264", "turbo"), Case("webdataset", "h264", "decord")]
    cases.append(Case("originals", "square", "decord"))
    return cases


def chosen_cases(patterns: list[str]) -> list[Case]:
    """The cases whose names fit one of the patterns, in the order of `all_cases`.

    Raises:
        SystemExit: A pattern fits none.
    """
    cases = all_cases()
    for pattern in patterns:
        if not any(fnmatch(case.name, pattern) for case in cases):
            names = ", ".join(case.name for case in cases)
            raise SystemExit(f"--cases {pattern!r} fits none of {names}")
    return [case for case in cases if any(fnmatch(case.name, pattern) for pattern in patterns)]
