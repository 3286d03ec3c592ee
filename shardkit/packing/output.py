"""The output folder while it is packed: who may write, what is there already, what is finished."""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from shardkit.clip import Reject
from shardkit.errors import CorruptShardError, DataError, StorageError, UsageError
from shardkit.format.digest import file_digest
from shardkit.format.index import decode_batch
from shardkit.format.manifest import INDEX_NAME, MANIFEST_NAME, REJECTS_NAME, SHARD_NAME, FileInfo, Manifest
from shardkit.packing.shard_files import PART_SUFFIX, HashingFile, ShardPart, read_part, reject_to_json
from shardkit.packing.shard_plan import ShardPlan
from shardkit.storage.files import TEMPORARY_SUFFIX, atomic_file, map_file, read_bytes, storage_errors, write_atomic

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
        self._made: list[Path] = []
        """Of the two folders, those that this run made."""
        self._planned: list[str] = []
        """Shards of the plan that this run wrote."""

    def __enter__(self) -> "PackOutput":
        with storage_errors(self.folder):
            self._made = [folder for folder in (self.folder, self._work) if not folder.exists()]
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
        try:
            if not self._cleared:
                self._abandon()
        finally:
            os.close(self._lock)

    def _abandon(self) -> None:
        """A run that stopped before its first shard was complete leaves nothing of its own, and all that was there."""
        if self._planned:
            if any(self._work.glob("*" + PART_SUFFIX)):
                return
            # The plan goes last: as long as one of its shards is there, it says whose that is.
            self._remove(self._planned)
        elif self._work not in self._made or any(path.name != "lock" for path in self._work.glob("*")):
            return
        self.clear()
        if self.folder in self._made:
            with suppress(OSError):  # it holds something
                self.folder.rmdir()

    def clear(self) -> None:
        """Removes what packing needs and a data set does not."""
        # The plan first: a kill in between leaves nothing that could be taken for a run to resume.
        with storage_errors(self._work):
            (self._work / PLAN_NAME).unlink(missing_ok=True)
        shutil.rmtree(self._work, ignore_errors=True)
        self._cleared = True  # from here on the folder can be another run's

    def has_packed(self) -> bool:
        """Whether an unfinished run is here that has packed a clip: there is something to resume."""
        return self._begun() and any(read_part(path).info.clips for path in self._work.glob("*" + PART_SUFFIX))

    def discard(self) -> None:
        """Removes the shards of the unfinished run that is here, and what packing them needed."""
        # The plan goes last: as long as one of its shards is there, it says whose that is.
        self._remove(self._read_plan()[1])
        self.clear()

    def finished(self) -> bool:
        """Whether a complete data set is here."""
        return (self.folder / MANIFEST_NAME).exists()

    def check(self, plan_digest: str, plan: ShardPlan, *, resume: bool, overwrite: bool) -> None:
        """Passes if a plan may be packed here; changes nothing.

        Raises:
            UsageError: Output is there and neither `resume` nor `overwrite` is given, or the plan is another one.
            DataError: What an earlier run planned cannot be read.
        """
        own: set[str] = set()
        if overwrite:
            own.update(self._own_names())
        elif self._begun():
            if not resume:
                raise UsageError(
                    f"{self.folder}: an earlier run stopped here; go on with --resume, or start over with --overwrite"
                )
            if self._read_plan()[0] != plan_digest:
                raise UsageError(
                    f"{self.folder}: an earlier run stopped here that had other settings, annotations, media files or "
                    "library versions; repeat its command to resume, or start over with --overwrite",
                )
            return
        elif self.finished():
            raise UsageError(
                f"{self.folder}: holds a data set already; choose another folder, or replace it with --overwrite"
            )
        for name in plan.shard_names:
            if name not in own and self.shard_path(name).exists():
                raise UsageError(f"{self.folder}: {name} is there already; choose another folder or another --name")

    def begin(self, plan_digest: str, plan: ShardPlan, *, overwrite: bool) -> None:
        """Makes the folder ready for a plan that passed `check`: empty, or as far as an earlier run of it came."""
        if overwrite and (self.finished() or self._begun()):
            self._remove_output()
        if self._begun():
            for leftover in (
                *self.folder.glob("*" + TEMPORARY_SUFFIX),
                *self._work.glob("*" + TEMPORARY_SUFFIX),
            ):
                leftover.unlink()
            return
        self._planned = plan.shard_names
        self._write_plan(plan_digest, self._planned)

    def _begun(self) -> bool:
        """Whether the plan of an unfinished run is here."""
        return (self._work / PLAN_NAME).exists()

    def _read_plan(self) -> tuple[str, list[str]]:
        """Digest and shard names of the plan that is here."""
        path = self._work / PLAN_NAME
        try:
            content = json.loads(read_bytes(path))
            digest, names = str(content["digest"]), list(content["shards"])
            # Names are deleted by --overwrite: none may lead out of the folder.
            strange = [name for name in names if not re.fullmatch(SHARD_NAME, name)]
        except (KeyError, TypeError, ValueError) as exc:
            raise DataError(f"{path}: damaged ({exc!r}); delete the folder yourself") from exc
        if strange:
            raise DataError(f"{path}: damaged ({strange[0]!r} is no shard's name); delete the folder yourself")
        return digest, names

    def _write_plan(self, digest: str, shard_names: Sequence[str]) -> None:
        content = {"digest": digest, "shards": list(shard_names)}
        write_atomic(self._work / PLAN_NAME, json.dumps(content).encode())

    def _remove_output(self) -> None:
        """Removes what packing wrote here, the manifest first, and nothing else."""
        names = self._own_names()
        # Killed half-way, the names are still known to the next --overwrite.
        self._write_plan("", names)
        self._remove((MANIFEST_NAME, INDEX_NAME, REJECTS_NAME, *names))
        with storage_errors(self.folder):
            for path in self._work.iterdir():
                if path.name not in ("lock", PLAN_NAME):
                    path.unlink()
            (self._work / PLAN_NAME).unlink()

    def _remove(self, names: Sequence[str]) -> None:
        """Removes files from the folder, half-written ones too."""
        with storage_errors(self.folder):
            for name in names:
                for path in (self.folder / name, self.folder / (name + TEMPORARY_SUFFIX)):
                    path.unlink(missing_ok=True)

    def _own_names(self) -> list[str]:
        """The shards that packing wrote here, or was about to."""
        names: list[str] = []
        if self.finished():
            try:
                names += [shard.name for shard in self._manifest().shards]
            except DataError as exc:
                raise UsageError(
                    f"{self.folder}: its manifest cannot be read, so --overwrite does not know which files are its "
                    f"own ({exc}); delete the folder yourself"
                ) from exc
        if self._begun():
            names += self._read_plan()[1]
        return names

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
        with atomic_file(self.folder / INDEX_NAME) as file:
            # Straight into the file: in memory, an index of ten million clips would stand once more.
            sink = HashingFile(file)
            with pa.ipc.new_file(sink, batch.schema) as writer:
                writer.write_batch(batch)
            about = FileInfo(sink.size_bytes, sink.digest)
            if self.finished():
                # Before the new index takes its name.
                write_atomic(self._work / RELABEL_NAME, json.dumps({"xxh3": about.xxh3}).encode())
        return about

    def commit(self, manifest: Manifest) -> None:
        """Writes the manifest, which makes the folder a data set, and clears away what packing needed."""
        write_atomic(self.folder / MANIFEST_NAME, manifest.to_bytes())
        self.clear()
