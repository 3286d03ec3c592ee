"""SPDL on byte ranges of the packed tars: a pipeline of threads, in the training process or in one beside it.

A stage decodes a whole batch, straight into the batch's memory where the decoder can, which costs less Python and fewer
copies than a stage a clip.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import spdl.io
import torch
from numpy.typing import NDArray
from spdl.pipeline import PipelineBuilder, SharedMemorySegmentPool, run_pipeline_in_subprocess
from spdl.source.utils import repeat_source

from benchmarks.loaders.contestants.contract import Contestant, Delivered, Work
from benchmarks.loaders.contestants.ffmpeg_links import environment, link_libraries
from benchmarks.loaders.decoding import ClipDecoder
from benchmarks.loaders.prepare import ClipPlace

BUFFERED_BATCHES = 3
THREADS, SUBPROCESS = "threads", "subprocess"
_SLACK_BYTES = 1 << 20

Loaded = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64], list[str]]


class ShuffledPlaces:
    """Clips in another order every epoch: SPDL's protocol of a source that shuffles."""

    def __init__(self, places: list[ClipPlace]) -> None:
        self._places = places
        self._order = np.arange(len(places))

    def shuffle(self, seed: int) -> None:
        """Sets the order of the next epoch."""
        self._order = np.random.default_rng(seed).permutation(len(self._places))

    def __iter__(self) -> Iterator[ClipPlace]:
        return (self._places[place] for place in self._order)


@dataclass(frozen=True, slots=True)
class BatchLoader:
    """The stage that reads and decodes; can be pickled."""

    decoder: ClipDecoder

    def __call__(self, places: list[ClipPlace]) -> Loaded:
        """Loads the clips of one batch."""
        scale = self.decoder.scale
        members = [place.read() for place in places]
        audio = np.empty((len(places), 1, scale.audio_samples), dtype=np.float32)
        for (_, sound), out in zip(members, audio, strict=True):
            self.decoder.audio_into(sound, out)
        return (
            self._video([video for video, _ in members]),
            audio,
            np.array([place.label for place in places]),
            [place.key for place in places],
        )

    def _video(self, members: list[bytes]) -> NDArray[np.uint8]:
        scale = self.decoder.scale
        if self.decoder.decoder == "spdl":
            crop = spdl.io.get_video_filter_desc(crop_width=scale.side, crop_height=scale.side, pix_fmt="rgb24")
            frames = [spdl.io.decode_packets(spdl.io.demux_video(member), filter_desc=crop) for member in members]
            return spdl.io.to_numpy(spdl.io.convert_frames(frames))
        video = np.empty((len(members), scale.frames, scale.side, scale.side, 3), dtype=np.uint8)
        for member, out in zip(members, video, strict=True):
            self.decoder.video_into(member, out)
        return video


def stream(work: Work) -> Iterator[Delivered]:
    """The pipeline that its documentation builds: source, aggregate, a concurrent stage, a buffer."""
    scale = work.scale
    places = ShuffledPlaces(work.folder.places(work.stored))
    places.shuffle(work.seed)
    builder = (
        PipelineBuilder()
        .add_source(repeat_source(places, epoch=work.seed) if work.epochs is None else places)
        .aggregate(scale.batch_size)
        .pipe(BatchLoader(ClipDecoder(scale, work.decoder)), concurrency=work.setup.workers)
        .add_sink(BUFFERED_BATCHES)
    )
    if work.setup.mode == SUBPROCESS:
        batch_bytes = scale.batch_size * (scale.frames * scale.side**2 * 3 + scale.audio_samples * 4)
        arena = SharedMemorySegmentPool(batch_bytes + _SLACK_BYTES, 2 * BUFFERED_BATCHES)
        yield from _named(run_pipeline_in_subprocess(builder.get_config(), num_threads=work.setup.workers, arena=arena))
    else:
        pipeline = builder.build(num_threads=work.setup.workers)
        with pipeline.auto_stop():
            yield from _named(pipeline.get_iterator())


def _named(loaded: Iterator[Loaded]) -> Iterator[Delivered]:
    for video, audio, labels, keys in loaded:
        yield Delivered(
            torch.from_numpy(video).permute(0, 1, 4, 2, 3), torch.from_numpy(audio), torch.from_numpy(labels), keys
        )


CONTESTANTS = {"spdl": Contestant(stream, prepare=link_libraries, environment=environment, modes=(THREADS, SUBPROCESS))}
