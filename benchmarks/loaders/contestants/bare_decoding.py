"""The limit: as many processes as cores that decode members in memory, over and over, and do nothing else."""

import itertools
import multiprocessing
import os
import time
from multiprocessing.connection import Connection

import numpy as np

from benchmarks.loaders.contestants.contract import Contestant, Work
from benchmarks.loaders.decoding import centre, decord_frames, jpeg_packets, turbo_frames
from benchmarks.loaders.measurement import Measurement, Timing
from benchmarks.loaders.process_tree import cpu_s
from shardkit.media.decord_video import decode_video

_COUNT, _STOP = "count", "stop"


def measure(work: Work, timing: Timing) -> Measurement:
    """Starts the processes, and counts what they decode in the same span of time."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for number in range(work.setup.workers):
        ours, theirs = context.Pipe()
        process = context.Process(target=_decode, args=(work, number, theirs))
        process.start()
        # Only the process's own copy is left open: if it dies, `recv` says so instead of waiting.
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    time.sleep(timing.warm_up_s)
    first = [_asked(pipe) for pipe in pipes]
    began_s, began_cpu_s = time.perf_counter(), cpu_s(os.getpid())
    time.sleep(timing.measured_s)
    last = [_asked(pipe) for pipe in pipes]
    elapsed_s, spent_s = time.perf_counter() - began_s, cpu_s(os.getpid()) - began_cpu_s
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(_STOP)
        process.join()
    return Measurement(sum(last) - sum(first), elapsed_s, spent_s)


def _asked(pipe: Connection) -> int:
    pipe.send(_COUNT)
    return pipe.recv()


def _decode(work: Work, number: int, pipe: Connection) -> None:
    """The process: tells when it is ready, and how many clips it has decoded whenever it is asked."""
    clips = _members(work, number)
    scale = work.scale
    out = np.empty((scale.frames, scale.side, scale.side, 3), dtype=np.uint8)
    stored: np.ndarray | None = None
    pipe.send(None)
    for done, clip in enumerate(itertools.cycle(clips)):
        if pipe.poll():
            if pipe.recv() == _STOP:
                # At once: exit handlers of native libraries are no part of this.
                os._exit(0)
            pipe.send(done)
        if work.decoder == "turbo":
            turbo_frames(clip, out)
        else:
            # Frame by frame, as shardkit does: quicker than the get_batch of the peers.
            if stored is None:
                stored = np.empty_like(decord_frames(clip))
            decode_video(clip, range(scale.frames), out=stored)
            if work.stored == "short":
                out[...] = centre(stored, scale.side)


def _members(work: Work, number: int) -> list:
    """Every clip of this process's share: packets, or whole members for decord."""
    places = work.folder.places(work.stored)[number :: work.setup.workers]
    videos = [place.read()[0] for place in places]
    return [jpeg_packets(video) for video in videos] if work.decoder == "turbo" else videos


CONTESTANTS = {"bare": Contestant(measure=measure, tunes_workers=False)}
