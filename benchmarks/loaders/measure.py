"""One measurement, in this process: `python -m benchmarks.loaders.measure`, with a JSON of `Request` on its input."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.loaders.cases import Case
from benchmarks.loaders.contestants import contestant
from benchmarks.loaders.contestants.contract import Delivered, Setup, Work
from benchmarks.loaders.measurement import Measurement, Timing
from benchmarks.loaders.prepare import BenchFolder, read_once
from benchmarks.loaders.process_tree import cpu_s
from benchmarks.loaders.scale import FULL, TINY, Scale
from shardkit.loading.measure import burn

WARM_UP_BATCHES = 8
"""At least; the first ones find queues empty and memory fresh."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure, in a form that JSON carries."""

    root: str
    is_tiny: bool
    case: Case
    setup: Setup
    seed: int
    timing: Timing

    @classmethod
    def of_json(cls, text: str) -> "Request":
        """The inverse of `to_json`."""
        fields = json.loads(text)
        kinds = {"case": Case, "setup": Setup, "timing": Timing}
        return cls(**{name: kinds[name](**value) if name in kinds else value for name, value in fields.items()})

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))


def files_of(folder: BenchFolder, scale: Scale, case: Case) -> list[Path]:
    """The files and folders that a case reads; they have been made."""
    paths = [folder.media if case.contestant == "originals" else folder.packed(case.stored)]
    copy = contestant(case.contestant).prepare
    return paths if copy is None else [*paths, copy(folder, scale, case.stored)]


def measured(request: Request) -> Measurement:
    """Runs one case."""
    scale = TINY if request.is_tiny else FULL
    case = request.case
    work = Work(BenchFolder(Path(request.root)), scale, case.stored, case.decoder, request.setup, request.seed)
    found = contestant(case.contestant)
    # Systems that reclaim memory by its age take the files of other cases out of the page cache between two turns.
    read_once(files_of(work.folder, scale, case))
    if found.measure is not None:
        return found.measure(work, request.timing)
    # Closed, so that workers are ended before the interpreter is.
    with closing(found.stream(work)) as stream:
        return measured_stream(stream, scale, request.timing)


def measured_stream(
    stream: Iterator[Delivered], scale: Scale, timing: Timing, mark: Callable[[], Any] = lambda: None
) -> Measurement:
    """Warms up, then counts clips from the moment in which one batch came to the one in which another did.

    `mark` is called in both of these moments.
    """
    batch = next(stream)
    batch.check(scale)
    warm_s = time.perf_counter() + timing.warm_up_s
    skipped = 0
    while skipped < WARM_UP_BATCHES or time.perf_counter() < warm_s:
        batch = next(stream)
        burn(timing.burn_ms / 1000)
        skipped += 1
    clips = batches = 0
    burnt_s = 0.0
    mark()
    began_s, began_cpu_s = time.perf_counter(), cpu_s(os.getpid())
    while batches < timing.measured_batches or time.perf_counter() - began_s < timing.measured_s:
        # As in `for batch in loader`: the last batch is let go when the next one is there.
        batch = next(stream)
        burnt_s += burn(timing.burn_ms / 1000)
        clips += len(batch.keys)
        batches += 1
    elapsed_s = time.perf_counter() - began_s
    spent_s = cpu_s(os.getpid()) - began_cpu_s
    mark()
    return Measurement(clips, elapsed_s, spent_s, burnt_s)


def answer_one(answer: Callable[[str], Any]) -> None:
    """Ends this process with the JSON of what `answer` makes of its input; nothing else goes to standard output."""
    asked = sys.stdin.read()
    output = os.fdopen(os.dup(1), "w")
    # Peers and their workers print.
    os.dup2(2, 1)
    with output:
        output.write(json.dumps(answer(asked)))
    # Workers are ended by now. Some of the many native libraries hang now and then when their exit handlers run.
    os._exit(0)


if __name__ == "__main__":
    answer_one(lambda text: asdict(measured(Request.of_json(text))))
