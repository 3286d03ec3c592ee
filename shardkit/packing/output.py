"""The output folder while it is packed: who may write, what is there already, what is finished."""

import json
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import pyarrow as pa

from shardkit.clip import Reject
from shardkit.errors import CorruptShardError, DataError, StorageError, UsageError
from shardkit.format.digest import file_digest
from shardkit.format.index import decode_batch, write_index
from shardkit.format.manifest import INDEX_NAME, MANIFEST_NAME, REJECTS_NAME, SHARD_NAME, FileInfo, Manifest
from shardkit.format.receipt import RECEIPT_SUFFIX, Receipt, rejects_file
from shardkit.packing.parts import Part
from shardkit.packing.shard_files import WORK_NAME, read_receipt, receipt_name
from shardkit.packing.shard_plan import ShardPlan
from shardkit.storage.folders import Folder, Lock

PLAN_NAME = f"{WORK_NAME}/plan.json"
RELABEL_NAME = f"{WORK_NAME}/relabel.json"
"""Names the index that is about to replace the old one, until a manifest vouches for it."""
LOCK_NAME = "lock"
LOCK_TRIES, LOCK_PAUSE_S = 3, 0.1
READS_AT_ONCE = 16
"""Receipts are small and many, and storage answers each after a while."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What `plan.json` says of the unfinished run that is here."""

    digest: str
    shards: list[str]
    parts: int | None
    """How many parts it is packed in; None: in one run."""


class PackOutput:
    """An output folder, locked against other runs; the parts of one plan may write side by side."""

    def __init__(self, folder: Folder, *, part: Part | None = None) -> None:
        """Nothing is looked at or made before it is entered.

        Args:
            folder: The output folder.
            part: The part that is going to be packed; None: the run wants the folder for itself.
        """
        self._folder = folder
        self._part = part
        self._locks: list[Lock] = []
        self._cleared = False
        self._made: list[str] = []
        """Of the two folders, those that this run made."""
        self._planned: list[str] = []
        """Shards of the plan that this run began."""

    @property
    def location(self) -> str:
        """Path or URL of the folder."""
        return self._folder.location

    def __enter__(self) -> "PackOutput":
        for _ in range(LOCK_TRIES - 1):
            if self._lock() is None:
                return self
            # A run that ends removes its locks: what was in the way may be gone, folder and all.
            time.sleep(LOCK_PAUSE_S)
        if (held := self._lock()) is None:
            return self
        raise StorageError(
            f"{self.location}: another `shardkit pack` or `relabel` is writing {held} here; wait for it, or stop it"
        )

    def _lock(self) -> str | None:
        """Takes the locks that this run needs; returns what another holds, if it does."""
        self._made += [below for below in ("", WORK_NAME) if self._folder.make(below)]
        part = self._part
        wanted = [(LOCK_NAME, part is not None, "a data set")]
        if part is not None:
            wanted.append((f"{LOCK_NAME}-{part.number}-of-{part.count}", False, f"part {part}"))
        for name, shared, what in wanted:
            lock = self._folder.lock(f"{WORK_NAME}/{name}", shared=shared)
            if lock is None:
                self._unlock()
                return what
            self._locks.append(lock)
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._cleared:
                self._abandon()
        except StorageError:
            if error is None:  # else what happened first is what matters
                raise
        finally:
            self._unlock()

    def _unlock(self) -> None:
        while self._locks:
            self._locks.pop().close()

    def _abandon(self) -> None:
        """A run that stopped before its first shard was complete leaves nothing of its own, and all that was there."""
        if self._part is not None and (self._planned or not self.finished()):
            # Plan and folder are those of all parts, and not every storage shows whether another is at work.
            self._sweep(self._planned)
            return
        if not self._planned and WORK_NAME not in self._made:
            return
        there = self._folder.sizes(WORK_NAME)
        if self._planned:
            if any(name.endswith(RECEIPT_SUFFIX) for name in there):
                return
            # The plan goes last: as long as one of its shards is there, it says whose that is.
            self._folder.remove(self._planned)
        elif any(not name.startswith(LOCK_NAME) for name in there):
            return
        self.clear()
        if "" in self._made:
            self._folder.unmake()

    def _sweep(self, shards: Sequence[str], *others: str) -> None:
        """Removes what is half-written of shards, their receipts and other files."""
        self._folder.sweep([*shards, *map(receipt_name, shards), *others])

    def clear(self) -> None:
        """Removes what packing needs and a data set does not."""
        # The plan first: a kill in between leaves nothing that could be taken for a run to resume.
        self._folder.remove([PLAN_NAME])
        self._folder.remove(f"{WORK_NAME}/{name}" for name in self._folder.sizes(WORK_NAME))
        self._folder.unmake(WORK_NAME)
        self._cleared = True  # from here on the folder can be another run's

    def has_packed(self) -> bool:
        """Whether an unfinished run is here that has packed a clip: there is something to resume."""
        return self._begun() and any(receipt.info.clips for receipt in self._all_receipts())

    def _all_receipts(self) -> Iterator[Receipt]:
        for name in self._folder.sizes(WORK_NAME):
            if name.endswith(RECEIPT_SUFFIX):
                yield read_receipt(self._folder, name.removesuffix(RECEIPT_SUFFIX))

    def discard(self) -> None:
        """Removes the shards of the unfinished run that is here, and what packing them needed."""
        # The plan goes last: as long as one of its shards is there, it says whose that is.
        self._folder.remove(self._plan().shards)
        self.clear()

    def finished(self) -> bool:
        """Whether a complete data set is here."""
        return self._folder.exists(MANIFEST_NAME)

    def check(self, plan_digest: str, plan: ShardPlan, *, resume: bool, overwrite: bool) -> None:
        """Passes if a plan, or the part of it, may be packed here; changes nothing.

        Raises:
            UsageError: Output is there and neither `resume` nor `overwrite` is given, or the plan is another one.
            DataError: What an earlier run planned cannot be read.
        """
        # Before it is known whether a plan is here: another part may begin meanwhile, and its shards are no strangers'.
        there = self._folder.sizes()
        own: set[str] = set()
        if overwrite:
            own.update(self._own_names())
        elif self._begun():
            self._check_begun(plan_digest, plan, resume=resume)
            return
        elif MANIFEST_NAME in there:
            raise UsageError(
                f"{self.location}: holds a data set already; choose another folder, or "
                + ("remove it yourself" if self._part else "replace it with --overwrite")
            )
        for name in plan.shard_names:
            if name not in own and name in there:
                raise UsageError(f"{self.location}: {name} is there already; choose another folder or another --name")

    def _check_begun(self, plan_digest: str, plan: ShardPlan, *, resume: bool) -> None:
        found, part = self._plan(), self._part
        if not resume and part is None:
            raise UsageError(
                f"{self.location}: an earlier run stopped here; go on with --resume, or start over with --overwrite"
            )
        self.check_digest(plan_digest)
        if part is None:
            return
        if found.parts != part.count:
            how = "in one run, without --part" if found.parts is None else f"in {found.parts} parts"
            raise UsageError(f"{self.location}: is being packed {how}; go on so, or choose another folder")
        if not resume:
            there = self._folder.sizes(WORK_NAME)
            own = [plan.shard_name(shard) for shard in part.shards(plan.shard_count)]
            done = sum(f"{name}{RECEIPT_SUFFIX}" in there for name in own)
            if done:
                raise UsageError(
                    f"{self.location}: {done} of {len(own)} shards of part {part} are packed already; go on with "
                    "--resume"
                )

    def parts(self) -> int | None:
        """In how many parts the unfinished run that is here is packed; None: in one run."""
        return self._plan().parts

    def check_digest(self, plan_digest: str) -> None:
        """Passes if the unfinished run that is here follows this plan.

        Raises:
            UsageError: There is none, or it follows another one.
        """
        if not self._begun():
            raise UsageError(f"{self.location}: nothing is packed here yet; pack all parts with --part first")
        if self._plan().digest != plan_digest:
            other, anew = (
                ("another part, or an earlier run,", "or after removing this one yourself")
                if self._part
                else ("an earlier run stopped here that", "or with --overwrite")
            )
            raise UsageError(
                f"{self.location}: {other} had other settings, annotations, media files or library versions; repeat "
                f"its command, or start over in another folder {anew}"
            )

    def begin(self, plan_digest: str, plan: ShardPlan, *, overwrite: bool) -> None:
        """Makes the folder ready for a plan that passed `check`: empty, or as far as an earlier run of it came.

        Raises:
            UsageError: Another part has begun another plan meanwhile.
        """
        part = self._part
        if overwrite and (self.finished() or self._begun()):
            self._remove_output()
        if part is not None:
            content = _plan_content(plan_digest, plan.shard_names, part.count)
            self._folder.create(PLAN_NAME, content)
            self._check_begun(plan_digest, plan, resume=True)
            self._planned = [plan.shard_name(shard) for shard in part.shards(plan.shard_count)]
            self._sweep(self._planned)
        elif self._begun():
            self._sweep(plan.shard_names, MANIFEST_NAME, INDEX_NAME, REJECTS_NAME)
        else:
            self._planned = plan.shard_names
            self._folder.write(PLAN_NAME, _plan_content(plan_digest, self._planned, None))

    def _begun(self) -> bool:
        """Whether the plan of an unfinished run is here."""
        return self._folder.exists(PLAN_NAME)

    def _plan(self) -> _Plan:
        """The plan that is here."""
        path = f"{self.location}/{PLAN_NAME}"
        try:
            content = json.loads(self._folder.read(PLAN_NAME))
            plan = _Plan(str(content["digest"]), list(content["shards"]), content.get("parts"))
            # Names are deleted by --overwrite: none may lead out of the folder.
            strange = [name for name in plan.shards if not re.fullmatch(SHARD_NAME, name)]
        except (KeyError, TypeError, ValueError) as exc:
            raise DataError(f"{path}: damaged ({exc!r}); delete the folder yourself") from exc
        if strange:
            raise DataError(f"{path}: damaged ({strange[0]!r} is no shard's name); delete the folder yourself")
        return plan

    def _remove_output(self) -> None:
        """Removes what packing wrote here, the manifest first, and nothing else."""
        names = self._own_names()
        # Killed half-way, the names are still known to the next --overwrite.
        self._folder.write(PLAN_NAME, _plan_content("", names, None))
        self._folder.remove([MANIFEST_NAME])
        self._folder.remove((INDEX_NAME, REJECTS_NAME, *names))
        work = {f"{WORK_NAME}/{name}" for name in self._folder.sizes(WORK_NAME)}
        self._folder.remove(work - {f"{WORK_NAME}/{LOCK_NAME}", PLAN_NAME})
        self._folder.remove([PLAN_NAME])

    def _own_names(self) -> list[str]:
        """The shards that packing wrote here, or was about to."""
        names: list[str] = []
        if self.finished():
            try:
                manifest = self._manifest()
                # Tars that were only indexed here are somebody else's.
                names += [shard.name for shard in manifest.shards if manifest.packed]
            except DataError as exc:
                raise UsageError(
                    f"{self.location}: its manifest cannot be read, so --overwrite does not know which files are its "
                    f"own ({exc}); delete the folder yourself"
                ) from exc
        if self._begun():
            names += self._plan().shards
        return names

    def _manifest(self) -> Manifest:
        return Manifest.from_bytes(self._folder.read(MANIFEST_NAME), path=f"{self.location}/{MANIFEST_NAME}")

    def read(self) -> tuple[Manifest, pa.RecordBatch]:
        """Manifest and index rows of the complete data set that is here.

        Raises:
            DataError: They are damaged.
        """
        manifest, index_path = self._manifest(), f"{self.location}/{INDEX_NAME}"
        buffer = self._folder.buffer(INDEX_NAME)
        known = {manifest.index.xxh3}
        if self._folder.exists(RELABEL_NAME):
            known.add(json.loads(self._folder.read(RELABEL_NAME))["xxh3"])
        if (found := file_digest(buffer)) not in known:
            raise CorruptShardError(
                f"{index_path}: xxh3 is {found}, {MANIFEST_NAME} says {manifest.index.xxh3}; copy the data set again",
            )
        return manifest, decode_batch(buffer, path=index_path)

    def receipts(self, plan_digest: str, shard_names: Sequence[str]) -> Iterator[Receipt | None]:
        """The receipt of each shard; None where it is not complete, or of another plan.

        Raises:
            DataError: A receipt is damaged.
        """
        tars, work = self._folder.sizes(), self._folder.sizes(WORK_NAME)

        def found(name: str) -> Receipt | None:
            if name not in tars or f"{name}{RECEIPT_SUFFIX}" not in work:
                return None
            receipt = read_receipt(self._folder, name)
            is_whole = receipt.plan_digest == plan_digest and receipt.info.size_bytes == tars[name]
            return receipt if is_whole else None

        with ThreadPoolExecutor(READS_AT_ONCE) as threads:
            yield from threads.map(found, shard_names)

    def write_rejects(self, rejects: Sequence[Reject]) -> None:
        """Writes `rejects.jsonl`, in the order of the annotation file."""
        self._folder.write(REJECTS_NAME, rejects_file(rejects))

    def write_index(self, batch: pa.RecordBatch) -> FileInfo:
        """Writes `index.arrow`."""
        with self._folder.writer(INDEX_NAME) as file:
            about = write_index(file, batch)
            if self.finished():
                # Before the new index takes its name.
                self._folder.write(RELABEL_NAME, json.dumps({"xxh3": about.xxh3}).encode())
        return about

    def commit(self, manifest: Manifest) -> None:
        """Writes the manifest, which makes the folder a data set, and clears away what packing needed."""
        self._folder.write(MANIFEST_NAME, manifest.to_bytes())
        self.clear()


def _plan_content(digest: str, shard_names: Sequence[str], parts: int | None) -> bytes:
    return json.dumps({"digest": digest, "shards": list(shard_names), "parts": parts}).encode()
