"""One clip loaded in a worker process with a deadline, for whoever wants no loader: nobody vouches for its bytes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from shardkit.loading.dataset import Dataset
from shardkit.loading.engine import Engine
from shardkit.loading.plan import ClipPlan

TIMEOUT_S = 60.0


def load_apart(dataset: Dataset, plan: ClipPlan, row: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a batch of one clip by field, as a worker filled them.

    Raises:
        DataError: The clip's bytes are damaged.
        StorageError: The shard cannot be read.
        WorkerError: The clip takes too long, or ends the process; or no process can be started.
    """
    engine = Engine(dataset, plan, batch_size=1, workers=1, processes=True, timeout_s=TIMEOUT_S)
    try:
        step = engine.plan(rows=np.array([row]), positions=np.zeros(1, np.int64), epoch=0)
        engine.assign(step, 0)
        engine.wake()
        for fault in engine.wait(step):
            raise fault.error()
        return {name: array.copy() for name, array in engine.ring.views(0).items()}
    finally:
        engine.close()
