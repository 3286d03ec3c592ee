"""The Ray engine: a task a shard, on whichever node has the cores; clips are decoded in worker processes there too.

A task whose process is killed, or whose node is lost, is done again by Ray: it comes to the same bytes, and only its
last step, the receipt, makes its shard count.
"""

import logging
import platform
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

from shardkit.clip import Reject
from shardkit.errors import ShardkitError, StorageError, UsageError, WorkerError
from shardkit.packing.output import PLAN_NAME
from shardkit.packing.provenance import libraries
from shardkit.packing.shard_files import read_receipt, receipt_name
from shardkit.packing.shard_task import Common, OnClips, ShardTask, pack_shard
from shardkit.storage.folders import Folder, open_folder

MAX_RETRIES = 5
"""Times that a shard is packed again after its process or its node was lost."""
AHEAD = 2
"""Tasks that are handed to Ray for each that can run: the next one must not wait for this process."""
SETTLE_S = 0.3
CANCEL_TIMEOUT_S = 20.0
KNOCK_TIMEOUT_S = 10.0


def pack_by_ray(
    tasks: Sequence[ShardTask], common: Common, *, workers: int | None, address: str | None, on_clips: OnClips
) -> None:
    """Packs shards as tasks of a Ray cluster, in whatever order they are done.

    Args:
        tasks: The shards.
        common: What they share; output and media must be reachable by all nodes.
        workers: Worker processes of each task, and cores that Ray sets aside for it; None is one.
        address: Of the cluster, as `ray.init` takes it; None: the one that this process is connected to, or else what
            `ray.init` finds or starts.
        on_clips: Is told of each shard's clips.

    Raises:
        UsageError: Ray is not installed, the cluster cannot be reached, or a node has other library versions.
        StorageError: A node cannot read or write a file, or does not see the output or the media.
        WorkerError: A task was lost too often.
    """
    cores = workers or 1
    with _cluster(address) as ray:
        most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
        if cores > most:
            raise UsageError(
                f"workers={cores}: with engine 'ray' that is the cores of each shard's task, and the largest node has "
                f"{most:g}; give at most that"
            )
        remote = ray.remote(num_cpus=cores, max_retries=MAX_RETRIES)(pack_on_node)
        shared = ray.put(common)
        rest = iter(tasks)
        waiting: dict[Any, ShardTask] = {}
        at_once = 0
        try:
            while True:
                # Asked again each time: clusters grow and shrink.
                at_once = max(1, int(ray.cluster_resources().get("CPU", 1) // cores))
                for task in islice(rest, max(0, at_once * AHEAD - len(waiting))):
                    waiting[remote.options(name=task.name).remote(task, shared, cores)] = task
                if not waiting:
                    return
                (done,), _ = ray.wait(list(waiting), num_returns=1)
                task = waiting.pop(done)
                on_clips(len(task.candidates), _result(ray, done, task))
        finally:
            _cancel(ray, list(waiting), most_running=at_once)
            open_folder(common.out).sweep(name for task in waiting.values() for name in _files(task))


def pack_on_node(task: ShardTask, common: Common, cores: int) -> tuple[Reject, ...]:
    """What a node does: packs a shard, and returns what was rejected of it."""
    output = open_folder(common.out, alone=False)
    _check_node(task, common, output)
    output.sweep(_files(task))  # of a process that was killed at this shard
    with common.isolated_workers(cores) as pool:
        pack_shard(task, common, pool.map(common.requests(task)), output, lambda _done, _rejects: None)
    # From where the driver will read it: what a node writes to a disk of its own is noticed there.
    return read_receipt(output, task.name).rejects


def _files(task: ShardTask) -> list[str]:
    return [task.name, receipt_name(task.name)]


def _check_node(task: ShardTask, common: Common, output: Folder) -> None:
    """Refuses to make other bytes than the other nodes, or to reject all clips because a disk is not mounted."""
    node = platform.node()
    found = libraries()
    if found != common.libraries:
        unlike = ", ".join(
            f"{name} {found.get(name)} and not {wanted}"
            for name, wanted in common.libraries.items()
            if found.get(name) != wanted
        )
        raise UsageError(f"node {node} has {unlike}: install the same on all nodes, or bytes would depend on the node")
    if not output.exists(PLAN_NAME):
        raise StorageError(f"node {node} does not see the run in {output.location}: all nodes must reach the output")
    paths = [path for path in (common.local_path(each.located) for each in task.candidates) if path is not None]
    if paths and not any(path.exists() for path in paths):
        raise StorageError(
            f"node {node} sees none of the media files of {task.name} (such as {paths[0]}): all nodes must reach the "
            "media"
        )


def _result(ray: Any, done: Any, task: ShardTask) -> tuple[Reject, ...]:
    try:
        rejects: tuple[Reject, ...] = ray.get(done)
    except ray.exceptions.RayTaskError as exc:
        if isinstance(exc.cause, ShardkitError):
            raise exc.cause from None
        raise WorkerError(f"{task.name}: its Ray task failed: {exc.cause!r}; see Ray's logs") from exc
    except ray.exceptions.RayError as exc:
        said = str(exc).strip().split("\n", 1)[0]
        raise WorkerError(
            f"{task.name}: its Ray task was lost {MAX_RETRIES + 1} times ({type(exc).__name__}: {said}); see Ray's "
            "logs, and go on with --resume"
        ) from exc
    return rejects


def _cancel(ray: Any, tasks: list[Any], *, most_running: int) -> None:
    """Ends tasks, in the order in which they were begun, and waits for their end: others may use the output then."""

    def end(tasks: list[Any]) -> None:
        for task in tasks:
            with suppress(ray.exceptions.RayError):
                ray.cancel(task, force=True)

    running, queued = tasks[:most_running], tasks[most_running:]
    end(queued)
    # Ray ends this process where a task is cancelled in the moment in which its answer comes (ray-project/ray#54798),
    # and one that has just written its last file, for which a run is stopped, is about to be there.
    if running:
        _, running = ray.wait(running, num_returns=len(running), timeout=SETTLE_S)
    end(running)
    if ended := [*running, *queued]:
        ray.wait(ended, num_returns=len(ended), timeout=CANCEL_TIMEOUT_S)


def _knock(address: str | None) -> None:
    """Raises an OSError where nobody answers at `host:port`: Ray itself would try for minutes."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=KNOCK_TIMEOUT_S).close()


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """The ray module, connected; a connection that was made for this is closed again."""
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise UsageError("engine 'ray' needs the package ray: pip install 'shardkit[ray]'") from exc
    if ray.is_initialized():
        if address is not None:
            raise UsageError(f"ray_address={address!r}: this process is connected to a cluster already; leave it out")
        yield ray
        return
    usual = signal.getsignal(signal.SIGTERM)
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as exc:
        where = "the Ray cluster" if address is None else f"Ray cluster {address}"
        raise UsageError(
            f"{where}: cannot be reached ({exc}); check --ray-address, and RAY_AUTH_MODE where a token is asked for"
        ) from exc
    try:
        if threading.current_thread() is threading.main_thread():
            # Ray's own handler ends the process without a word.
            signal.signal(signal.SIGTERM, usual)
        yield ray
    finally:
        ray.shutdown()
