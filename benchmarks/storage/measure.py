"""One measurement, in this process: `python -m benchmarks.storage.measure`, with a JSON of `Request` on its input."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import shardkit
from benchmarks.loaders.contestants.contract import Setup, Work
from benchmarks.loaders.measure import answer_one
from benchmarks.loaders.measurement import Timing
from benchmarks.loaders.prepare import BenchFolder
from benchmarks.loaders.scale import FULL, TINY
from benchmarks.storage.cases import Case, Route
from benchmarks.storage.far_loaders import NodeCache, measured_loader
from benchmarks.storage.readings import Reading
from benchmarks.storage.sites import Site


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure, in a form that JSON carries."""

    root: str
    """The folder with the data sets, on this machine's disk."""
    is_tiny: bool
    case: Case
    site: Site
    workers: int
    seed: int
    timing: Timing
    cache: NodeCache | None

    @classmethod
    def of_json(cls, text: str) -> "Request":
        """The inverse of `to_json`."""
        told = json.loads(text)
        case = {**told["case"], "route": Route(**told["case"]["route"])}
        cache = told["cache"]
        whole = {"case": Case(**case), "site": Site(**told["site"]), "timing": Timing(**told["timing"])}
        return cls(**{**told, **whole, "cache": None if cache is None else NodeCache(**cache)})

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))


def measured(request: Request) -> list[Reading]:
    """Runs one case: a reading for each of its figures."""
    case, scale = request.case, TINY if request.is_tiny else FULL
    folder = BenchFolder(Path(request.root))
    if case.reader.startswith("bare-"):
        # Clients that come with shardkit's extras: loaders do without.
        from benchmarks.storage.bare_clients import epoch_spans, measured_client

        spans = epoch_spans(shardkit.open(folder.packed(case.stored)), seed=request.seed)
        found = measured_client(case.reader, request.site, case.stored, spans, request.timing, pace=case.pace)
        return [Reading.of(found)]
    if case.stored == "thin":
        scale = replace(scale, side=scale.thin)
    work = Work(folder, scale, case.stored, case.decoder or "turbo", Setup(request.workers), request.seed)
    readings = measured_loader(case, request.site, work, request.timing, request.cache)
    return [replace(reading, workers=request.workers) for reading in readings]


if __name__ == "__main__":
    answer_one(lambda text: [reading.to_json() for reading in measured(Request.of_json(text))])
