"""RemoteReader: byte ranges of shards that are far away, asked for ahead of their use."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shardkit.storage.clients import RangeClient
from shardkit.storage.fetcher import Fetch, Fetcher
from shardkit.storage.fetching import Patience
from shardkit.storage.ranges import Bytes, Range
from shardkit.storage.request_meter import RequestMeter

GAP_BYTES = 256 << 10
"""What lies between two ranges of a clip is read along up to here: another request would take longer."""
CLIP_GAP_BYTES = 8 << 10
"""The same between two clips: headers and padding, but hardly a member that nobody wants."""
SPAN_BYTES = 16 << 20
"""Clips that lie side by side, as where nothing is shuffled, are read together up to here."""


class _Piece(NamedTuple):
    """A part of one clip: bytes [start, stop) of a shard, which are in a fetch."""

    start: int
    stop: int
    fetch: Fetch


class RemoteReader:
    """Reads ranges through a client, with many requests under way.

    A clip is one request: its members are side by side in the shard. What comes before it is used, waits in memory.
    """

    def __init__(
        self,
        client: RangeClient,
        names: Sequence[str],
        *,
        patience: Patience,
        meter: RequestMeter | None = None,
    ) -> None:
        self._client = client
        self._names = names
        self._fetcher = Fetcher(client, patience=patience, meter=meter)

    def __repr__(self) -> str:
        return f"RemoteReader({self._client.location}, {len(self._names)} shards, {self._client.engine})"

    @property
    def meter(self) -> RequestMeter:
        """What was asked of the storage so far."""
        return self._fetcher.meter

    def name(self, shard: int) -> str:
        """See RangeReader."""
        return self._client.location.child(self._names[shard])

    def has_room(self) -> bool:
        """See RangeReader."""
        return self._fetcher.has_room()

    def begin(self, clips: Sequence[tuple[int, Sequence[Range]]]) -> list[list[_Piece]]:
        """See RangeReader."""
        spans = sorted((shard, *span, clip) for clip, (shard, ranges) in enumerate(clips) for span in _spans(ranges))
        begun: list[list[_Piece]] = [[] for _ in clips]
        while spans:
            shard, start, stop, _ = spans[0]
            count = 0
            for other, its_start, its_stop, _ in spans:
                if other != shard or its_start > stop + CLIP_GAP_BYTES or max(stop, its_stop) - start > SPAN_BYTES:
                    break
                stop = max(stop, its_stop)
                count += 1
            count = max(1, count)  # a clip may be longer than that by itself
            fetch = self._fetcher.begin(self._names[shard], start, stop, takers=count)
            for _, its_start, its_stop, clip in spans[:count]:
                begun[clip].append(_Piece(its_start, its_stop, fetch))
            spans = spans[count:]
        return begun

    def forget(self, begun: list[_Piece]) -> None:
        """See RangeReader."""
        for piece in begun:
            self._fetcher.forget(piece.fetch)

    def read(
        self,
        shard: int,
        ranges: Sequence[Range],
        into: Sequence[Bytes] | None = None,
        *,
        begun: list[_Piece] | None = None,
    ) -> list[Bytes]:
        """See RangeReader."""
        pieces = self.begin([(shard, ranges)])[0] if begun is None else begun
        blocks: list[Bytes] = []
        try:
            for piece in pieces:
                blocks.append(self._fetcher.take(piece.fetch)[piece.start - piece.fetch.start :])  # noqa: PERF401
        except BaseException:
            self.forget(pieces[len(blocks) + 1 :])
            raise
        views = _views(ranges, pieces, blocks)
        beside = len(views) - len(into or ())
        for place, view in zip(into or (), views[beside:], strict=True):
            place[...] = view
        return [*views[:beside], *(into or ())]

    def read_anew(self, shard: int, ranges: Sequence[Range], into: Sequence[Bytes] | None = None) -> list[Bytes] | None:
        """See RangeReader."""
        return self.read(shard, ranges, into)

    def close(self) -> None:
        """See RangeReader."""
        self._fetcher.close()


def _spans(ranges: Sequence[Range]) -> list[tuple[int, int]]:
    """What is read of a clip: [start, stop) of each part."""
    spans: list[tuple[int, int]] = []
    for offset, size in sorted(ranges):
        if not size:
            continue
        if spans and offset - spans[-1][1] <= GAP_BYTES:
            spans[-1] = (spans[-1][0], max(spans[-1][1], offset + size))
        else:
            spans.append((offset, offset + size))
    return spans


def _views(ranges: Sequence[Range], pieces: Sequence[_Piece], blocks: Sequence[Bytes]) -> list[Bytes]:
    """Each range's bytes, out of what was read."""
    if len(pieces) == 1:  # nearly always, and there is a range for every frame
        start, block = pieces[0].start, blocks[0]
        return [block[offset - start : offset - start + size] for offset, size in ranges]
    return [_view(place, pieces, blocks) for place in ranges]


def _view(wanted: Range, pieces: Sequence[_Piece], blocks: Sequence[Bytes]) -> Bytes:
    """A range's bytes, out of what was read."""
    offset, size = wanted
    for piece, block in zip(pieces, blocks, strict=True):
        if piece.start <= offset and offset + size <= piece.stop:
            return block[offset - piece.start : offset + size - piece.start]
    assert not size
    return np.empty(0, np.uint8)
