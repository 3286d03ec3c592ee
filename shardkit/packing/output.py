"""The output folder while it is packed: who may write, what is there already, what is finished."""

import fcntl
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from shardkit.clip import Reject
from shardkit.errors import CorruptShardError, DataError, StorageError, UsageError
from shardkit.format.digest import file_digest
from shardkit.format.index import decode_batch, encode_index
from shardkit.format.manifest import INDEX_NAME, MANIFEST_NAME, REJECTS_NAME, FileInfo, Manifest
from shardkit.packing.shard_files import PART_SUFFIX, ShardPart, read_part, reject_to_json
from shardkit.packing.shard_plan import ShardPlan
from shardkit.storage.files import TEMPORARY_SUFFIX, map_file, read_bytes, storage_errors, write_atomic

WORK_NAME = ".packing"
"""Folder of what a packing run needs and a data set does not; gone once the manifest is written."""
PLAN_NAME = "plan.json"
RELABEL_NAME = "relabel.json"
"""Names the index that is about to replace the old one, until a manifest vouches for it."""


class PackOutput:
    """An output folder, locked against a second packing run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._work = folder / WORK_NAME
        self._lock = -1
        self._cleared = False

    def __enter__(self) -> "PackOutput":
        with storage_errors(self.folder):
            self._work.mkdir(parents=True, exist_ok=True)
            lock_path = self._work / "lock"
            self._lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A run that ended meanwhile has removed the file, and with it the lock on it.
                mine = lock_path.exists() and os.path.samestat(os.fstat(self._lock), lock_path.stat())
            except BlockingIOError:
                mine = False
            except BaseException:
                os.close(self._lock)
                raise
        if not mine:
            os.close(self._lock)
            raise StorageError(
                f"{self.folder}: another `shardkit pack` or `relabel` is writing here; wait for it, or stop it"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A run that stopped before its first shard was complete leaves nothing behind.
        if not (self._cleared or any(self._work.glob("*" + PART_SUFFIX)) or (self._work / RELABEL_NAME).exists()):
            self.clear()
            with suppress(OSError):  # it holds something
                self.folder.rmdir()
        os.close(self._lock)

    def clear(self) -> None:
        """Removes what packing needs and a data set does not."""
        # The plan first: a kill in between leaves nothing that could be taken for a run to resume.
        with storage_errors(self._work):
            (self._work / PLAN_NAME).unlink(missing_ok=True)
        shutil.rmtree(self._work, ignore_errors=True)
        self._cleared = True  # from here on the folder can be another run's

    def finished(self) -> bool:
        """Whether a complete data set is here."""
        return (self.folder / MANIFEST_NAME).exists()

    def begin(self, plan_digest: str, plan: ShardPlan, *, resume: bool, overwrite: bool) -> None:
        """Makes the folder ready for a plan: empty, or as far as an earlier run of the same plan came.

        Raises:
            UsageError: Output is there and neither `resume` nor `overwrite` is given, or the plan is another one.
        """
        begun = self._work / PLAN_NAME
        if overwrite and (self.finished() or begun.exists()):
            self._remove_output()
        if begun.exists():
            if not resume:
                raise UsageError(
                    f"{self.folder}: an earlier run stopped here; go on with --resume, or start over with --overwrite"
                )
            said = json.loads(read_bytes(begun))
            if said["digest"] != plan_digest:
                raise UsageError(
                    f"{self.folder}: an earlier run stopped here that had other settings, annotations, media files or "
                    "library versions; repeat its command to resume, or start over with --overwrite",
                )
            for leftover in (
                *self.folder.glob("*" + TEMPORARY_SUFFIX),
                *self._work.glob("*" + TEMPORARY_SUFFIX),
            ):
                leftover.unlink()
            return
        if self.finished():
            raise UsageError(
                f"{self.folder}: holds a data set already; choose another folder, or replace it with --overwrite"
            )
        taken = next(
            (name for shard in range(plan.shard_count) if (self.folder / (name := plan.shard_name(shard))).exists()),
            None,
        )
        if taken is not None:
            raise UsageError(f"{self.folder}: {taken} is there already; choose another folder or another --name")
        self._write_plan(plan_digest, [plan.shard_name(shard) for shard in range(plan.shard_count)])

    def _write_plan(self, digest: str, shard_names: Sequence[str]) -> None:
        content = {"digest": digest, "shards": list(shard_names)}
        write_atomic(self._work / PLAN_NAME, json.dumps(content).encode())

    def _remove_output(self) -> None:
        """Removes what packing wrote here, the manifest first, and nothing else."""
        names: list[str] = []
        begun = self._work / PLAN_NAME
        if self.finished():
            try:
                names += [shard.name for shard in self._manifest().shards]
            except DataError as exc:
                raise UsageError(
                    f"{self.folder}: its manifest cannot be read, so --overwrite does not know which files are its "
                    f"own ({exc}); delete the folder yourself"
                ) from exc
        if begun.exists():
            names += json.loads(read_bytes(begun))["shards"]
        # Killed half-way, the names are still known to the next --overwrite.
        self._write_plan("", names)
        with storage_errors(self.folder):
            for name in (MANIFEST_NAME, INDEX_NAME, REJECTS_NAME, *names):
                for path in (self.folder / name, self.folder / (name + TEMPORARY_SUFFIX)):
                    path.unlink(missing_ok=True)
            for path in self._work.iterdir():
                if path.name not in ("lock", PLAN_NAME):
                    path.unlink()
            begun.unlink()

    def _manifest(self) -> Manifest:
        path = self.folder / MANIFEST_NAME
        return Manifest.from_bytes(read_bytes(path), path=str(path))

    def read(self) -> tuple[Manifest, pa.RecordBatch]:
        """Manifest and index rows of the complete data set that is here.

        Raises:
            DataError: They are damaged.
        """
        manifest, index_path = self._manifest(), self.folder / INDEX_NAME
        buffer = map_file(index_path)
        known = {manifest.index.xxh3}
        if (self._work / RELABEL_NAME).exists():
            known.add(json.loads(read_bytes(self._work / RELABEL_NAME))["xxh3"])
        if (found := file_digest(buffer)) not in known:
            raise CorruptShardError(
                f"{index_path}: xxh3 is {found}, {MANIFEST_NAME} says {manifest.index.xxh3}; copy the data set again",
            )
        return manifest, decode_batch(buffer, path=str(index_path))

    def shard_path(self, name: str) -> Path:
        """Where a shard lies."""
        return self.folder / name

    def part_path(self, name: str) -> Path:
        """Where a shard's part lies."""
        return self._work / (name + PART_SUFFIX)

    def part(self, name: str) -> ShardPart | None:
        """The part of a shard that is complete; None where it is not."""
        path = self.part_path(name)
        if not path.exists():
            return None
        part = read_part(path)
        shard = self.shard_path(name)
        if not shard.exists() or shard.stat().st_size != part.info.size_bytes:
            path.unlink()
            return None
        return part

    def write_rejects(self, rejects: Sequence[Reject]) -> None:
        """Writes `rejects.jsonl`, in the order of the annotation file."""
        lines = [json.dumps(reject_to_json(r), ensure_ascii=False) + "\n" for r in sorted(rejects, key=lambda r: r.row)]
        write_atomic(self.folder / REJECTS_NAME, "".join(lines).encode())

    def write_index(self, batch: pa.RecordBatch) -> FileInfo:
        """Writes `index.arrow`."""
        data = encode_index(batch)
        about = FileInfo(len(data), file_digest(data))
        if self.finished():
            write_atomic(self._work / RELABEL_NAME, json.dumps({"xxh3": about.xxh3}).encode())
        write_atomic(self.folder / INDEX_NAME, data)
        return about

    def commit(self, manifest: Manifest) -> None:
        """Writes the manifest, which makes the folder a data set, and clears away what packing needed."""
        write_atomic(self.folder / MANIFEST_NAME, manifest.to_bytes())
        self.clear()
