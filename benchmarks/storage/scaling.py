"""`shardkit bench` under torchrun: a number of ranks, each with several numbers of workers."""

import json
from typing import Any

from benchmarks.loaders.rounds import python_output
from benchmarks.loaders.scale import Scale
from benchmarks.storage.cases import WORKERS_A_RANK, Case
from benchmarks.storage.far_loaders import NodeCache
from benchmarks.storage.readings import Asked, Reading
from benchmarks.storage.sites import Site


def measured_ranks(case: Case, site: Site, scale: Scale, seconds: float, cache: NodeCache | None) -> list[Reading]:
    """A reading for each number of workers, of all ranks together.

    Raises:
        CaseError: It failed or hung.
    """
    arguments = [
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(case.ranks)),
        *("-m", "shardkit", "bench", site.url(case.stored), "--seconds", str(seconds), "--json", "-"),
        *("--batch-size", str(scale.batch_size), "--size", str(scale.side)),
        *("--workers", ",".join(map(str, WORKERS_A_RANK))),
    ]
    if cache is not None:
        arguments += ["--cache-dir", cache.folder]
    # What torchrun sets by itself, with a warning, where nobody has.
    told = json.loads(python_output(case.name, arguments, environment={"OMP_NUM_THREADS": "1"}))
    return [_reading(result) for result in told["results"]]


def _reading(result: dict[str, Any]) -> Reading:
    storage = result.get("storage")
    return Reading(
        clips=result["clips"],
        elapsed_s=result["clips"] / result["clips_per_s"],
        cpu_s=result["cpu_s_per_clip"] * result["clips"],
        workers=result["workers"],
        asked=None if storage is None else Asked.of_json(storage),
    )
