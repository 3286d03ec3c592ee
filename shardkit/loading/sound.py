"""SoundFiller: the samples of a clip's windows, from whole seconds in the shard to their places in a slot."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shardkit.format.index import ClipIndex
from shardkit.format.wav import SAMPLE_BYTES
from shardkit.loading.plan import AudioPlan, Bytes, Slot

PCM_SCALE = np.float32(1 / 32768)
"""int16 to [-1, 1)."""


class Window(NamedTuple):
    """Samples of a clip: from `first` on, as many as there are of those wanted."""

    first: int
    samples: int


class SecondRun(NamedTuple):
    """Neighbouring seconds, which are read and decoded together."""

    seconds: range
    offset: int
    """Of their bytes in the shard."""
    sizes: list[int]
    """Bytes of each second."""


class SoundPart:
    """One clip's samples on their way into a slot."""

    member = "audio"
    __slots__ = ("_filler", "_out", "_row", "_runs", "_windows", "into", "ranges")

    def __init__(self, filler: "SoundFiller", row: int, windows: list[Window], runs: list[SecondRun]) -> None:
        self._filler = filler
        self._row = row
        self._windows = windows
        self._runs = runs
        self.ranges = [(run.offset, sum(run.sizes)) for run in runs]
        self.into: list[Bytes] = []

    def place(self, slot: Slot) -> None:
        """Writes how many samples there are; from here on it is known where they go."""
        slot["audio_samples"][...] = [window.samples for window in self._windows]
        self._out: npt.NDArray[Any] = slot["audio"]

    def pieces(self, data: Sequence[Bytes]) -> Iterator[tuple[Bytes, int, int]]:
        """What is checked: bytes, their digest, their place in the shard."""
        for run, block in zip(self._runs, data, strict=True):
            yield from self._filler.pieces(self._row, run, block)

    def fill(self, data: Sequence[Bytes]) -> None:
        """Writes each window's samples, and silence behind them."""
        blocks = [self._filler.decoded(self._row, run, block) for run, block in zip(self._runs, data, strict=True)]
        rate_hz = self._filler.plan.rate_hz
        for out, window in zip(self._out, self._windows, strict=True):
            first, count = window
            if count:
                which = next(i for i, run in enumerate(self._runs) if first // rate_hz in run.seconds)
                skipped = first - self._runs[which].seconds.start * rate_hz
                pcm = blocks[which][skipped : skipped + count].T
                if out.dtype == np.int16:
                    out[:, :count] = pcm
                else:
                    np.multiply(pcm, PCM_SCALE, out=out[:, :count])
            out[:, count:] = 0


def sound_filler(index: ClipIndex, plan: AudioPlan, *, verify: bool) -> "SoundFiller":
    """The filler that a plan asks for."""
    if plan.codec == "source":
        from shardkit.loading.source_sound import SourceSound  # noqa: PLC0415 - FFmpeg is loaded where it is needed

        return SourceSound(index, plan)
    return SoundFiller(index, plan, verify=verify)


class SoundFiller:
    """Makes the sound parts of one clip after another."""

    def __init__(self, index: ClipIndex, plan: AudioPlan, *, verify: bool) -> None:
        """Makes a filler; without `verify`, nobody has compared digests before."""
        self.index = index
        self.plan = plan
        self._flac = None
        if plan.codec == "flac":
            from shardkit.media.flac import FlacDecoder  # noqa: PLC0415 - FFmpeg is loaded where it is needed

            # The frames' own checksums take a third of the time.
            self._flac = FlacDecoder(verify=not verify)

    def part(self, row: int, windows_s: Sequence[tuple[float, float]]) -> SoundPart:
        """The part that brings the samples of a clip's windows."""
        rate_hz, total = self.plan.rate_hz, int(self.index.audio_samples[row])
        firsts = [round(start_s * rate_hz) for start_s, _ in windows_s]
        windows = [Window(first, max(0, min(self.plan.samples, total - first))) for first in firsts]
        return SoundPart(self, row, windows, self._runs(row, windows))

    def pieces(self, row: int, run: SecondRun, block: Bytes) -> Iterator[tuple[Bytes, int, int]]:
        """What is checked of a run's bytes: bytes, their digest, their place in the shard."""
        digests = self.index.second_xxh3.row(row).tolist()
        start = 0
        for second, size in zip(run.seconds, run.sizes, strict=True):
            yield block[start : start + size], digests[second], run.offset + start
            start += size

    def _runs(self, row: int, windows: Sequence[Window]) -> list[SecondRun]:
        index, rate_hz = self.index, self.plan.rate_hz
        wanted = wanted_seconds(windows, rate_hz=rate_hz)
        if not wanted:
            return []
        if self._flac is None:
            second_bytes = rate_hz * self.plan.channels * SAMPLE_BYTES
            total_bytes = int(index.audio_samples[row]) * self.plan.channels * SAMPLE_BYTES
            sizes = [second_bytes] * (total_bytes // second_bytes) + [total_bytes % second_bytes]
        else:
            sizes = index.second_bytes.row(row).tolist()
        start = int(index.audio_offset[row]) + int(index.audio_data_offset[row])
        return [
            SecondRun(seconds, start + sum(sizes[: seconds.start]), sizes[seconds.start : seconds.stop])
            for seconds in wanted
        ]

    def decoded(self, row: int, run: SecondRun, data: Bytes) -> npt.NDArray[np.int16]:
        """The samples of a run of seconds.

        Returns:
            int16 [S, C].

        Raises:
            DataError: They cannot be decoded.
        """
        channels, rate_hz = self.plan.channels, self.plan.rate_hz
        if self._flac is None:
            return data.view("<i2").reshape(-1, channels)
        stop = min(int(self.index.audio_samples[row]), run.seconds.stop * rate_hz)
        return self._flac.decode(data, channels=channels, samples=stop - run.seconds.start * rate_hz)


def wanted_seconds(windows: Sequence[Window], *, rate_hz: int) -> list[range]:
    """The seconds that windows need, each once, ascending; those that touch are one range."""
    wanted = [range(w.first // rate_hz, -(-(w.first + w.samples) // rate_hz)) for w in windows if w.samples]
    joined: list[range] = []
    for seconds in sorted(wanted, key=lambda seconds: seconds.start):
        if joined and seconds.start <= joined[-1].stop:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, seconds.stop))
        else:
            joined.append(seconds)
    return joined
