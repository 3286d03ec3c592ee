"""SPDL on byte ranges of the packed tars: a pipeline of threads, in the training process or in one beside it.

`spdl` is what its documentation and its examples for video do: a stage that decodes a clip, run concurrently, then
batches of arrays that are stacked, or of its own frames that it converts into one buffer. `spdl-tuned` goes beyond
them: a stage that decodes a whole batch straight into the batch's memory, with neither arrays for a clip nor a copy.
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
class ClipStage:
    """Reads and decodes one clip; can be pickled."""

    decoder: ClipDecoder

    def __call__(self, place: ClipPlace) -> tuple:
        """Frames (SPDL's own, or an array [T, side, side, 3]), sound [1, S], class id, key."""
        video, audio = place.read()
        frames = (
            own_frames(video, self.decoder.scale.side) if self.decoder.decoder == "spdl" else self.decoder.video(video)
        )
        return frames, self.decoder.audio(audio), place.label, place.key


def own_frames(member: bytes, side: int) -> "spdl.io.VideoFrames":
    """All frames of a video file in memory, decoded by SPDL, cropped and made RGB by FFmpeg's filters."""
    crop = spdl.io.get_video_filter_desc(crop_width=side, crop_height=side, pix_fmt="rgb24")
    return spdl.io.decode_packets(spdl.io.demux_video(member), filter_desc=crop)


def stack(clips: list[tuple]) -> Loaded:
    """Gathers clips into a batch."""
    frames, sounds, labels, keys = zip(*clips, strict=True)
    is_array = isinstance(frames[0], np.ndarray)
    video = np.stack(frames) if is_array else spdl.io.to_numpy(spdl.io.convert_frames(list(frames)))
    return video, np.stack(sounds), np.array(labels), list(keys)


@dataclass(frozen=True, slots=True)
class BatchStage:
    """Reads and decodes the clips of a batch straight into its memory; can be pickled."""

    decoder: ClipDecoder

    def __call__(self, places: list[ClipPlace]) -> Loaded:
        """Loads one batch."""
        scale = self.decoder.scale
        video = np.empty((len(places), scale.frames, scale.side, scale.side, 3), dtype=np.uint8)
        audio = np.empty((len(places), 1, scale.audio_samples), dtype=np.float32)
        for place, frames, sound in zip(places, video, audio, strict=True):
            video_member, audio_member = place.read()
            self.decoder.video_into(video_member, frames)
            self.decoder.audio_into(audio_member, sound)
        return video, audio, np.array([place.label for place in places]), [place.key for place in places]


def stream(work: Work) -> Iterator[Delivered]:
    """Source, a concurrent stage for clips, batches, a concurrent stage that stacks them, a buffer."""
    workers = work.setup.workers
    builder = _source(work).pipe(ClipStage(ClipDecoder(work.scale, work.decoder)), concurrency=workers)
    yield from _run(work, builder.aggregate(work.scale.batch_size).pipe(stack, concurrency=workers))


def stream_tuned(work: Work) -> Iterator[Delivered]:
    """Source, batches, a concurrent stage that decodes them, a buffer."""
    stage = BatchStage(ClipDecoder(work.scale, work.decoder))
    builder = _source(work).aggregate(work.scale.batch_size)
    yield from _run(work, builder.pipe(stage, concurrency=work.setup.workers))


def _source(work: Work) -> PipelineBuilder:
    places = ShuffledPlaces(work.folder.places(work.stored))
    places.shuffle(work.seed)
    return PipelineBuilder().add_source(repeat_source(places, epoch=work.seed) if work.epochs is None else places)


def _run(work: Work, builder: PipelineBuilder) -> Iterator[Delivered]:
    scale = work.scale
    builder = builder.add_sink(BUFFERED_BATCHES)
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


MODES = (THREADS, SUBPROCESS)
CONTESTANTS = {
    "spdl": Contestant(stream, prepare=link_libraries, environment=environment, modes=MODES),
    "spdl-tuned": Contestant(stream_tuned, modes=MODES),
}
