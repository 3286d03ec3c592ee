"""The local engine: shards one after another in this process, their clips in its worker processes."""

from collections.abc import Sequence
from itertools import chain

from shardkit.cores import usable_cores
from shardkit.packing.shard_task import Common, OnClips, ShardTask, pack_shard
from shardkit.storage.folders import Folder


def pack_locally(
    tasks: Sequence[ShardTask], common: Common, output: Folder, *, workers: int | None, on_clips: OnClips
) -> None:
    """Packs shards in order.

    Args:
        tasks: The shards.
        common: What they share.
        output: The output folder.
        workers: Worker processes; None: as many as there are usable cores.
        on_clips: Is told of each clip.

    Raises:
        StorageError: A file cannot be read or written.
        WorkerError: Worker processes cannot be started.
    """
    with common.isolated_workers(workers or max(1, int(usable_cores()))) as pool:
        # Workers go on to the next shard while one is being finished.
        answers = pool.map(chain.from_iterable(common.requests(task) for task in tasks))
        for task in tasks:
            pack_shard(task, common, answers, output, on_clips)
