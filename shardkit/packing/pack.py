"""Packing: an annotation file and a media folder become a data set of tar shards."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from shardkit.clip import Clip, Reject
from shardkit.errors import StorageError, TooManyRejectsError, UsageError
from shardkit.format.index import (
    SPLIT_PREFIX,
    column_type,
    counts_of,
    counts_of_splits,
    index_schema,
    joined,
    split_sets,
)
from shardkit.format.manifest import Manifest, ShardInfo
from shardkit.format.receipt import Receipt
from shardkit.packing.annotation_file import read_annotation_file
from shardkit.packing.background import BACKGROUND_SPLIT, find_background
from shardkit.packing.features import find_arrays
from shardkit.packing.job import PackJob
from shardkit.packing.keys import check_member_names, clip_keys
from shardkit.packing.local_engine import pack_locally
from shardkit.packing.outcome import PackProgress, PackReport
from shardkit.packing.output import PackOutput
from shardkit.packing.parts import part_of_shard
from shardkit.packing.provenance import annotation_inputs, libraries
from shardkit.packing.shard_plan import Candidate, ShardPlan, plan_shards
from shardkit.packing.shard_task import Common, ShardTask
from shardkit.packing.sources import Located, find_sources
from shardkit.packing.splits import assign_splits, default_splits
from shardkit.planning.order import ORDER_VERSION
from shardkit.storage.folders import Folder, check_writable, open_folder

MOST_NAMED = 5
"""Shards or rejects that a message names one by one."""


def run_job(job: PackJob, progress: Callable[[PackProgress], None] | None = None) -> PackReport:
    """Packs: all of a job, one part of it, or the finish after all parts.

    Args:
        job: Inputs, output and settings.
        progress: Is told how far the run is.

    Raises:
        UsageError: The options do not fit together, output is there already, or parts are missing.
        DataError: The annotation file cannot be read.
        StorageError: A file cannot be read or written.
        TooManyRejectsError: More rows are rejected than `max_rejects` allows, or all of them.
        WorkerError: Worker processes cannot be started.
    """
    return _Run(job, progress).run()


class _Run:
    """One packing run under way."""

    def __init__(self, job: PackJob, progress: Callable[[PackProgress], None] | None) -> None:
        self._job = job
        self._progress = progress
        self._began_s = time.monotonic()
        # First: what is wrong with the output's URL is said before a long list of media is made.
        check_writable(job.out)
        self._folder: Folder = open_folder(job.out, alone=job.part is None)
        self._annotations, self._about_annotations = read_annotation_file(job.annotations, job.request)
        self._libraries = libraries()
        self._rejects = list(self._annotations.rejects)
        self._clips: Sequence[Clip] = ()
        """All: a row may make several, and background is of none."""
        self._named: dict[int, tuple[str, str]] = {}
        """Identity of each of them to key and split: several may say the same."""
        self._background_files = 0
        self._done = self._fresh = self._total = 0
        self._begun = False

    def run(self) -> PackReport:
        job = self._job
        plan = self._plan()
        inputs = {
            "libraries": self._libraries,
            **annotation_inputs(self._about_annotations, job.request),
            "features": self._features.about,
        }
        with PackOutput(self._folder, part=job.part) as output:
            if (job.resume or job.finish) and output.finished():
                return self._check_finished(output)
            digest = plan.digest(job.settings, inputs)
            if job.finish:
                output.check_digest(digest)
            else:
                output.check(digest, plan, resume=job.resume, overwrite=job.overwrite)
            # Before `begin`: a data set is not overwritten with nothing.
            self._check_rejects(output)
            if not any(candidate.clip.row for candidate in plan.candidates):
                raise self._nothing_packed(output)
            if not job.finish:
                output.begin(digest, plan, overwrite=job.overwrite)
            self._begun = True
            try:
                self._pack_shards(plan, digest, output)
                if job.part is not None:
                    return self._report_part(self._gather(plan, digest, output))
                return self._commit(self._gather(plan, digest, output), output)
            except TooManyRejectsError:
                if job.part is None and not output.has_packed():
                    output.discard()
                raise
            except StorageError as exc:
                raise StorageError(f"{exc}; then go on with {'--finish' if job.finish else '--resume'}") from exc

    def _plan(self) -> ShardPlan:
        """Which clips are decoded, and into which shard they go; the rest is rejected."""
        job, annotations = self._job, self._annotations
        clips = annotations.clips
        if job.split is None:
            splits = default_splits(annotations)
        else:
            splits = assign_splits(
                clips,
                shares=job.split,
                group=job.split_group,
                stratify=job.stratify,
                label_sets=annotations.label_sets,
                seed=job.settings.seed,
            )
        require = job.settings.require
        if job.media is None:
            located = [Located(clip, None, clip.start_s, clip.end_s) for clip in clips]
        else:
            located, missing = find_sources(clips, job.media, optional=require == "features", are_cut=job.already_cut)
            self._rejects += missing
        if job.background is not None:
            background, refused, about = find_background(job.background, annotations)
            clips, splits = (*clips, *(each.clip for each in background)), splits + [BACKGROUND_SPLIT] * len(background)
            located, self._rejects = located + background, self._rejects + refused
            self._background_files = about["files"]
            self._about_annotations |= {"background": about}
        if job.already_cut:
            self._about_annotations |= {"already_cut": True}
        self._clips = clips
        self._named = dict(zip(map(id, clips), zip(clip_keys(clips), splits, strict=True), strict=True))
        candidates = [Candidate(*self._named[id(each.clip)], each) for each in located]
        self._features = find_arrays(job.features, candidates, annotations=annotations, require=require)
        self._rejects += self._features.rejects
        candidates, sources = self._features.candidates, self._features.sources
        check_member_names((candidate.key for candidate in candidates), [source.extension for source in sources])
        feature_bytes = sum(source.member_bytes for source in sources)
        return plan_shards(candidates, job.settings, name=job.name, feature_bytes=feature_bytes)

    def _shards(self, plan: ShardPlan) -> Sequence[int]:
        """The shards that this run is to pack."""
        shards = range(plan.shard_count)
        return shards if self._job.part is None else self._job.part.shards(len(shards))

    def _pack_shards(self, plan: ShardPlan, digest: str, output: PackOutput) -> None:
        """Counts the shards that are complete, and packs the others."""
        shards = self._shards(plan)
        self._total = sum(len(plan.shard(shard)) for shard in shards)
        missing = []
        receipts = output.receipts(digest, [plan.shard_name(shard) for shard in shards])
        for shard, receipt in zip(shards, receipts, strict=True):
            if receipt is None:
                missing.append(shard)
            else:
                self._count(output, len(plan.shard(shard)), receipt.rejects, fresh=False)
        if self._job.finish and missing:
            raise self._parts_missing(plan, missing, output)
        if not missing:
            return
        tasks = [ShardTask(shard, plan.shard_name(shard), plan.shard(shard)) for shard in missing]
        common = self._common(digest)

        def on_clips(done: int, rejects: Sequence[Reject]) -> None:
            self._count(output, done, rejects, fresh=True)

        job = self._job
        if job.engine == "ray":
            from shardkit.packing.ray_engine import pack_by_ray  # noqa: PLC0415 - an extra

            pack_by_ray(tasks, common, workers=job.workers, address=job.ray_address, on_clips=on_clips)
        else:
            pack_locally(tasks, common, self._folder, workers=job.workers, on_clips=on_clips)

    def _schema(self) -> pa.Schema:
        annotations = self._annotations
        columns = {
            name: column_type(clip.columns.get(name) for clip in annotations.clips) for name in annotations.columns
        }
        return index_schema(
            annotations.label_sets, columns, split_sets=annotations.split_sets, features=self._features.about
        )

    def _common(self, digest: str) -> Common:
        job, annotations = self._job, self._annotations
        return Common(
            settings=job.settings,
            schema=self._schema(),
            label_sets=annotations.label_sets,
            event_classes=annotations.event_classes,
            plan_digest=digest,
            libraries=self._libraries,
            # Tasks of other processes have another current folder.
            media=None if job.media is None else job.media.absolute(),
            background=None if job.background is None else job.background.absolute(),
            features=self._features.sources,
            out=job.out.absolute(),
            clip_timeout_s=job.clip_timeout_s,
        )

    def _parts_missing(self, plan: ShardPlan, missing: Sequence[int], output: PackOutput) -> UsageError:
        parts = output.parts()
        names = [plan.shard_name(shard) for shard in missing]
        if parts is None:
            way = "pack them with --resume"
        else:
            todo = sorted({part_of_shard(shard, parts).number for shard in missing})
            way = "pack them with --resume and " + ", ".join(f"--part {number}/{parts}" for number in todo)
        return UsageError(
            f"{output.location}: {len(missing)} of {plan.shard_count} shards are missing or not complete "
            f"({_first(names)}); {way}"
        )

    def _count(self, output: PackOutput, done: int, rejects: Sequence[Reject], *, fresh: bool) -> None:
        self._done += done
        self._fresh += done * fresh
        self._rejects += rejects
        if rejects:
            self._check_rejects(output)
        if self._progress is not None:
            elapsed_s = time.monotonic() - self._began_s
            self._progress(PackProgress(self._done, self._total, len(self._rejects), elapsed_s, self._fresh))

    def _check_rejects(self, output: PackOutput) -> None:
        rows = self._annotations.entry_count
        rejects = _of_rows(self._rejects)
        if len(rejects) <= self._job.max_rejects * rows:
            return
        # Before it has begun, what lies there is another run's.
        is_own = self._begun or self._job.resume
        on = " and go on with --resume" if is_own and output.has_packed() else ""
        raise TooManyRejectsError(
            f"{len(rejects)} of {rows} rows are rejected, more than --max-rejects {self._job.max_rejects:g} "
            f"allows ({_counted(rejects)}); {self._named_rejects(output)}; mend them, or allow more{on}",
        )

    def _nothing_packed(self, output: PackOutput) -> TooManyRejectsError:
        return TooManyRejectsError(
            f"none of {self._annotations.entry_count} rows could be packed "
            f"({_counted(_of_rows(self._rejects)) or 'no rows'}); "
            f"{self._named_rejects(output)}; check --media{' --features' if self._job.features else ''} and --column"
        )

    def _named_rejects(self, output: PackOutput) -> str:
        """Writes the rejects, unless a finished data set has its own there, and says where they are."""
        if self._job.part is not None:
            # Each part knows its own only, and all of them would write the same file.
            return f"such as {_first([reject.detail for reject in self._rejects])}"
        if output.finished():
            return f"{output.location} keeps its data set; pack into another folder for a rejects.jsonl that names each"
        output.write_rejects(self._rejects)
        return f"{output.location}/rejects.jsonl names each"

    def _gather(self, plan: ShardPlan, digest: str, output: PackOutput) -> list[Receipt]:
        """The receipts of all shards that this run was to pack."""
        names = [plan.shard_name(shard) for shard in self._shards(plan)]
        receipts = list(output.receipts(digest, names))
        lost = [name for name, receipt in zip(names, receipts, strict=True) if receipt is None]
        if lost:
            raise StorageError(
                f"{output.location}: {_first(lost)} were packed and are not there; nothing else may write or remove "
                "there, and all nodes must see the same folder"
            )
        return [receipt for receipt in receipts if receipt is not None]

    def _commit(self, receipts: Sequence[Receipt], output: PackOutput) -> PackReport:
        job, annotations = self._job, self._annotations
        batch = joined([receipt.batch for receipt in receipts], self._schema())
        if not batch.column("row").to_numpy().any():
            raise self._nothing_packed(output)
        output.write_rejects(self._rejects)
        index = output.write_index(batch)
        manifest = Manifest(
            name=job.name,
            order_version=ORDER_VERSION,
            settings=job.settings.to_json(),
            libraries=self._libraries,
            label_sets=annotations.label_sets,
            event_classes=annotations.event_classes,
            columns=annotations.columns,
            splits=counts_of(batch.column("split")),
            clip_count=batch.num_rows,
            duration_s=math.fsum(batch.column("duration_s").to_numpy()),
            reject_counts=_by_reason(self._rejects),
            shards=tuple(receipt.info for receipt in receipts),
            index=index,
            annotations=self._about_annotations,
            feature_sources=self._features.about,
            split_sets=counts_of_splits(batch),
        )
        output.commit(manifest)
        return self._report(manifest.shards, batch, manifest.reject_counts)

    def _check_finished(self, output: PackOutput) -> PackReport:
        """The report of a data set that is complete already, if it is the one that was asked for.

        Raises:
            UsageError: It is of other settings, annotations or splits.
            DataError: It is damaged.
        """
        job, annotations = self._job, self._annotations
        manifest, batch = output.read()
        keys = batch.column("key").to_pylist()
        named = {
            key: (clip.row, split, *(clip.splits.get(scheme, "") for scheme in annotations.split_sets))
            for clip, (key, split) in zip(self._clips, self._named.values(), strict=True)
        }
        found = (
            manifest.name,
            dict(manifest.settings),
            dict(manifest.annotations),
            dict(manifest.feature_sources),
            dict(manifest.libraries),
            (manifest.label_sets, manifest.event_classes, manifest.columns),
            dict(zip(keys, _splits_of(batch), strict=True)),
        )
        wanted = (
            job.name,
            job.settings.to_json(),
            self._about_annotations,
            self._features.about,
            self._libraries,
            (annotations.label_sets, annotations.event_classes, annotations.columns),
            {key: named.get(key) for key in keys},
        )
        if found != wanted:
            raise UsageError(
                f"{output.location}: holds a data set of other settings, annotations, features, splits or library "
                "versions; choose another folder, or replace it with --overwrite",
            )
        if job.part is None:
            output.clear()
        return self._report(manifest.shards, batch, manifest.reject_counts)

    def _report_part(self, receipts: Sequence[Receipt]) -> PackReport:
        shards = [receipt.info for receipt in receipts]
        batch = joined([receipt.batch for receipt in receipts], self._schema())
        rejects = _by_reason([reject for receipt in receipts for reject in receipt.rejects])
        report = self._report(shards, batch, rejects)
        return replace(
            report,
            rows=report.packed + sum(rejects.values()),
            background_rejected=sum(not reject.row for receipt in receipts for reject in receipt.rejects),
            part=str(self._job.part),
        )

    def _report(
        self, shards: Sequence[ShardInfo], batch: pa.RecordBatch, reject_counts: Mapping[str, int]
    ) -> PackReport:
        elapsed_s = time.monotonic() - self._began_s
        packed = int(np.count_nonzero(batch.column("row").to_numpy()))
        return PackReport(
            out=self._folder.location,
            rows=self._annotations.entry_count,
            packed=packed,
            rejected=reject_counts,
            flags=counts_of(batch.column("flags").flatten()),
            shards=len(shards),
            size_bytes=sum(shard.size_bytes for shard in shards),
            media_s=math.fsum(batch.column("duration_s").to_numpy()),
            fresh=self._fresh,
            elapsed_s=elapsed_s,
            background=batch.num_rows - packed,
            background_rejected=self._background_files - (batch.num_rows - packed),
        )


def _splits_of(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """Row, split and named splits of every clip of an index."""
    names = ("row", "split", *(SPLIT_PREFIX + scheme for scheme in split_sets(batch.schema)))
    return zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _by_reason(rejects: Sequence[Reject]) -> dict[str, int]:
    """How many rows of the annotation file were rejected for which reason."""
    return dict(sorted(Counter(reject.reason.value for reject in _of_rows(rejects)).items()))


def _of_rows(rejects: Sequence[Reject]) -> list[Reject]:
    """Those of the annotation file's rows, not of background files."""
    return [reject for reject in rejects if reject.row]


def _counted(rejects: Sequence[Reject]) -> str:
    return ", ".join(f"{reason.value} {count}" for reason, count in Counter(r.reason for r in rejects).most_common())


def _first(names: Sequence[str]) -> str:
    """The first few of many."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
