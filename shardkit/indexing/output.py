"""IndexOutput: the folder that an index is written into, and the parts in it until there is one."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import pyarrow as pa

from shardkit.clip import Reject
from shardkit.errors import DataError, StorageError, UsageError
from shardkit.format.index import write_index
from shardkit.format.manifest import INDEX_NAME, MANIFEST_NAME, REJECTS_NAME, FileInfo, Manifest
from shardkit.format.receipt import RECEIPT_SUFFIX, Receipt, decode_receipt, rejects_file
from shardkit.storage.folders import Folder, Lock

WORK_NAME = ".indexing"
"""Folder of what a run needs and a data set does not; gone once the manifest is written."""
PLAN_NAME = f"{WORK_NAME}/plan.json"
LOCK_NAME = "lock"
READS_AT_ONCE = 16
"""Parts are small and many, and storage answers each after a while."""


class IndexOutput:
    """An output folder, locked against a second run. The tars that may lie in it are never written to."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock: Lock | None = None
        self._made_folder = self._began = self._cleared = False

    @property
    def location(self) -> str:
        """Path or URL of the folder."""
        return self._folder.location

    def __enter__(self) -> "IndexOutput":
        self._made_folder = self._folder.make()
        self._folder.make(WORK_NAME)
        self._lock = self._folder.lock(f"{WORK_NAME}/{LOCK_NAME}")
        if self._lock is None:
            raise StorageError(f"{self.location}: another `shardkit index` is writing here; wait for it, or stop it")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lock is not None
        try:
            if not self._cleared:
                self._abandon()
        except StorageError:
            if error is None:  # else what happened first is what matters
                raise
        finally:
            self._lock.close()

    def _abandon(self) -> None:
        """What was begun and has no receipt yet is nothing to resume; what another run began stays."""
        there = self._folder.sizes(WORK_NAME)
        if any(name.endswith(RECEIPT_SUFFIX) or (name != LOCK_NAME and not self._began) for name in there):
            return
        self._clear()
        if self._made_folder:
            self._folder.unmake()

    def finished(self) -> bool:
        """Whether a complete data set is here."""
        return self._folder.exists(MANIFEST_NAME)

    def begin(self, plan_digest: str, *, resume: bool, overwrite: bool) -> None:
        """Makes the folder ready for a plan: empty, or as far as an earlier run of it came.

        Raises:
            UsageError: An index is there, whole or begun, and neither `resume` nor `overwrite` is given, or it is of
                another plan; or what is there was packed.
        """
        if self.finished():
            self._check_replaceable(overwrite=overwrite)
        goes_on = not overwrite and self._folder.exists(PLAN_NAME)
        if goes_on:
            if not resume:
                raise UsageError(
                    f"{self.location}: an earlier run stopped here; go on with --resume, or start over with --overwrite"
                )
            if self._planned() != plan_digest:
                raise UsageError(
                    f"{self.location}: an earlier run stopped here that had other settings, tars or library versions; "
                    "repeat its command to resume, or start over with --overwrite"
                )
        self._began = True
        if not goes_on:
            self._folder.remove(
                f"{WORK_NAME}/{name}" for name in self._folder.sizes(WORK_NAME) if name.endswith(RECEIPT_SUFFIX)
            )
            self._folder.write(PLAN_NAME, json.dumps({"digest": plan_digest}).encode())
        # What stands there is of the plan from now on, and a run that is stopped can be resumed.
        self._folder.remove([MANIFEST_NAME])
        self._folder.sweep([INDEX_NAME, REJECTS_NAME])

    def _check_replaceable(self, *, overwrite: bool) -> None:
        try:
            packed = self.manifest().packed
        except DataError:
            packed = False  # damaged; and of an index nothing else is lost than this file
        if packed:
            raise UsageError(
                f"{self.location}: holds a data set that was packed, and is opened as it is; choose another folder "
                "with --out to index its tars as others see them"
            )
        if not overwrite:
            raise UsageError(
                f"{self.location}: is indexed already; choose another folder with --out, or replace the index with "
                "--overwrite"
            )

    def _planned(self) -> str:
        try:
            return str(json.loads(self._folder.read(PLAN_NAME))["digest"])
        except (KeyError, TypeError, ValueError) as exc:
            raise DataError(f"{self.location}/{PLAN_NAME}: damaged ({exc!r}); start over with --overwrite") from exc

    def manifest(self) -> Manifest:
        """The manifest that is here.

        Raises:
            DataError: It is damaged.
        """
        return Manifest.from_bytes(self._folder.read(MANIFEST_NAME), path=f"{self.location}/{MANIFEST_NAME}")

    def parts(self, shard_count: int) -> Iterator[Receipt | None]:
        """What an earlier run, or this one, knows of each shard; None where it is not finished.

        Raises:
            DataError: A part is damaged.
        """
        there = self._folder.sizes(WORK_NAME)

        def part(shard: int) -> Receipt | None:
            name = _part_name(shard)
            if name.rpartition("/")[2] not in there:
                return None
            return decode_receipt(self._folder.read(name), path=f"{self.location}/{name}")

        with ThreadPoolExecutor(READS_AT_ONCE) as threads:
            yield from threads.map(part, range(shard_count))

    def write_part(self, shard: int, part: bytes) -> None:
        """Writes what is known of a shard."""
        self._folder.write(_part_name(shard), part)

    def write_rejects(self, rejects: Iterable[Reject]) -> None:
        """Writes `rejects.jsonl`."""
        self._folder.write(REJECTS_NAME, rejects_file(rejects))

    def write_index(self, batch: pa.RecordBatch) -> FileInfo:
        """Writes `index.arrow`."""
        with self._folder.writer(INDEX_NAME) as file:
            return write_index(file, batch)

    def commit(self, manifest: Manifest) -> None:
        """Writes the manifest, which makes the folder a data set, and clears away what the run needed."""
        self._folder.write(MANIFEST_NAME, manifest.to_bytes())
        self._clear()

    def _clear(self) -> None:
        # The plan first: a kill in between leaves nothing that could be taken for a run to resume.
        self._folder.remove([PLAN_NAME])
        self._folder.remove(f"{WORK_NAME}/{name}" for name in self._folder.sizes(WORK_NAME))
        self._folder.unmake(WORK_NAME)
        self._cleared = True  # from here on the folder can be another run's


def _part_name(shard: int) -> str:
    return f"{WORK_NAME}/{shard:06d}{RECEIPT_SUFFIX}"
