"""Packing: an annotation file and a media folder become a data set of tar shards."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shardkit.annotations.reading import read_annotations
from shardkit.clip import Reason, Reject
from shardkit.cores import usable_cores
from shardkit.errors import StorageError, TooManyRejectsError, UsageError
from shardkit.format.index import column_type, index_schema
from shardkit.format.manifest import Manifest, ShardInfo
from shardkit.format.message import encode_message
from shardkit.format.record import Record
from shardkit.packing.clip_media import PackedMedia
from shardkit.packing.isolation import IsolatedWorkers
from shardkit.packing.job import PackJob
from shardkit.packing.keys import clip_keys
from shardkit.packing.outcome import PackProgress, PackReport
from shardkit.packing.output import PackOutput
from shardkit.packing.provenance import about_annotations, libraries
from shardkit.packing.shard_files import read_part, write_part, write_shard
from shardkit.packing.shard_plan import Candidate, ShardPlan, plan_shards
from shardkit.packing.sources import find_sources
from shardkit.packing.splits import assign_splits
from shardkit.planning.order import ORDER_VERSION


def run_job(job: PackJob, progress: Callable[[PackProgress], None] | None = None) -> PackReport:
    """Packs.

    Args:
        job: Inputs, output and settings.
        progress: Is told how far the run is, after every clip.

    Raises:
        UsageError: The options do not fit together, or output is there already.
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
        self._annotations = read_annotations(job.annotations, format=job.format, column=job.column)
        self._about_annotations = about_annotations(job.annotations, self._annotations)
        self._libraries = libraries()
        self._rejects = list(self._annotations.rejects)
        self._named: dict[int, tuple[str, str]] = {}
        """Row to key and split."""
        self._done = self._fresh = self._total = 0
        self._begun = False

    def run(self) -> PackReport:
        job = self._job
        plan = self._plan()
        inputs = {
            "libraries": self._libraries,
            "annotations": self._about_annotations["xxh3"],
            "format": self._annotations.format,
            "column": dict(job.column),
        }
        with PackOutput(job.out) as output:
            if job.resume and output.finished():
                return self._check_finished(output)
            digest = plan.digest(job.settings, inputs)
            output.check(digest, plan, resume=job.resume, overwrite=job.overwrite)
            # Before `begin`: a data set is not overwritten with nothing.
            self._check_rejects(output)
            if not plan.candidates:
                raise self._nothing_packed(output)
            output.begin(digest, plan, overwrite=job.overwrite)
            self._begun = True
            try:
                self._pack_shards(plan, output)
                return self._commit(plan, output)
            except TooManyRejectsError:
                if not output.has_packed():
                    output.discard()
                raise
            except StorageError as exc:
                raise StorageError(f"{exc}; then go on with --resume") from exc

    def _plan(self) -> ShardPlan:
        """Which clips are decoded, and into which shard they go; the rest is rejected."""
        job, annotations = self._job, self._annotations
        clips = annotations.clips
        if job.split is None:
            splits = [clip.split or "" for clip in clips]
        else:
            splits = assign_splits(
                clips,
                shares=job.split,
                group=job.split_group,
                stratify=job.stratify,
                label_sets=annotations.label_sets,
                seed=job.settings.seed,
            )
        self._named = dict(zip((clip.row for clip in clips), zip(clip_keys(clips), splits, strict=True), strict=True))
        located, missing = find_sources(clips, job.media)
        self._rejects += missing
        self._total = len(located)
        candidates = [Candidate(*self._named[each.clip.row], each) for each in located]
        return plan_shards(candidates, job.settings, name=job.name)

    def _pack_shards(self, plan: ShardPlan, output: PackOutput) -> None:
        clips = self._annotations.clips
        columns = {name: column_type(clip.columns.get(name) for clip in clips) for name in self._annotations.columns}
        schema = index_schema(self._annotations.label_sets, columns)
        todo = []
        for shard in range(plan.shard_count):
            part = output.part(plan.shard_name(shard))
            if part is None:
                todo.append(shard)
            else:
                self._count(output, len(plan.shard(shard)), part.rejects)
        workers = self._job.workers or max(1, int(usable_cores()))
        with IsolatedWorkers(self._job.settings, workers=workers, clip_timeout_s=self._job.clip_timeout_s) as pool:
            answers = pool.map(self._requests(plan, todo))
            for shard in todo:
                rejects: list[Reject] = []
                name = plan.shard_name(shard)
                samples = self._samples(len(plan.shard(shard)), answers, rejects, output)
                info, placed = write_shard(output.shard_path(name), samples, shard=shard)
                write_part(output.part_path(name), info, placed, rejects, schema)

    def _requests(self, plan: ShardPlan, shards: Sequence[int]) -> Iterator[tuple[Candidate, dict[str, Any]]]:
        """All clips of the shards in order; workers go on to the next shard while one is being finished."""
        for shard in shards:
            for candidate in plan.shard(shard):
                located = candidate.located
                path = str(self._job.media / located.path)
                yield candidate, {"path": path, "start_s": located.start_s, "end_s": located.end_s}

    def _samples(
        self,
        count: int,
        answers: Iterator[tuple[Candidate, dict[str, Any]]],
        rejects: list[Reject],
        output: PackOutput,
    ) -> Iterator[tuple[Record, dict[str, bytes]]]:
        """The next `count` answers as samples; rejects go aside."""
        for _ in range(count):
            candidate, answer = next(answers)
            self._fresh += 1
            if "reason" in answer:
                clip = candidate.clip
                reject = Reject(clip.row, clip.id, Reason(answer["reason"]), answer["detail"], candidate.located.path)
                rejects.append(reject)
                self._count(output, 1, [reject])
                continue
            media = PackedMedia.from_wire(answer)
            record = _record(candidate, media)
            message = encode_message(
                record,
                label_sets=self._annotations.label_sets,
                event_classes=self._annotations.event_classes,
                video_codec=self._job.settings.video.codec,
                audio_codec=self._job.settings.audio_codec,
            )
            yield record, {**media.members, "msg": message}
            self._count(output, 1, [])

    def _count(self, output: PackOutput, done: int, rejects: Sequence[Reject]) -> None:
        self._done += done
        self._rejects += rejects
        if rejects:
            self._check_rejects(output)
        if self._progress is not None:
            elapsed_s = time.monotonic() - self._began_s
            self._progress(PackProgress(self._done, self._total, len(self._rejects), elapsed_s, self._fresh))

    def _check_rejects(self, output: PackOutput) -> None:
        rows = self._annotations.row_count
        if len(self._rejects) <= self._job.max_rejects * rows:
            return
        # Before it has begun, what lies there is another run's.
        is_own = self._begun or self._job.resume
        on = " and go on with --resume" if is_own and output.has_packed() else ""
        raise TooManyRejectsError(
            f"{len(self._rejects)} of {rows} rows are rejected, more than --max-rejects {self._job.max_rejects:g} "
            f"allows ({_counted(self._rejects)}); {self._named_rejects(output)}; mend them, or allow more{on}",
        )

    def _nothing_packed(self, output: PackOutput) -> TooManyRejectsError:
        return TooManyRejectsError(
            f"none of {self._annotations.row_count} rows could be packed ({_counted(self._rejects) or 'no rows'}); "
            f"{self._named_rejects(output)}; check --media and --column"
        )

    def _named_rejects(self, output: PackOutput) -> str:
        """Writes the rejects, unless a finished data set has its own there, and says where they are."""
        if output.finished():
            return f"{output.folder} keeps its data set; pack into another folder for a rejects.jsonl that names each"
        output.write_rejects(self._rejects)
        return f"{output.folder}/rejects.jsonl names each"

    def _commit(self, plan: ShardPlan, output: PackOutput) -> PackReport:
        job, annotations = self._job, self._annotations
        shards, batch = _gathered(output.part_path(name) for name in plan.shard_names)
        if not batch.num_rows:
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
            splits=_counts(batch.column("split")),
            clip_count=batch.num_rows,
            duration_s=math.fsum(batch.column("duration_s").to_numpy()),
            reject_counts=dict(sorted(Counter(r.reason.value for r in self._rejects).items())),
            shards=shards,
            index=index,
            annotations=self._about_annotations,
        )
        output.commit(manifest)
        return self._report(output, manifest, batch)

    def _check_finished(self, output: PackOutput) -> PackReport:
        """The report of a data set that is complete already, if it is the one that was asked for.

        Raises:
            UsageError: It is of other settings, annotations or splits.
            DataError: It is damaged.
        """
        job, annotations = self._job, self._annotations
        manifest, batch = output.read()
        found = (
            manifest.name,
            dict(manifest.settings),
            dict(manifest.annotations),
            dict(manifest.libraries),
            (manifest.label_sets, manifest.event_classes, manifest.columns),
            list(zip(*(batch.column(name).to_pylist() for name in ("key", "split")), strict=True)),
        )
        wanted = (
            job.name,
            job.settings.to_json(),
            self._about_annotations,
            self._libraries,
            (annotations.label_sets, annotations.event_classes, annotations.columns),
            [self._named.get(row) for row in batch.column("row").to_pylist()],
        )
        if found != wanted:
            raise UsageError(
                f"{output.folder}: holds a data set of other settings, annotations, splits or library versions; "
                "choose another folder, or replace it with --overwrite",
            )
        output.clear()
        return self._report(output, manifest, batch)

    def _report(self, output: PackOutput, manifest: Manifest, batch: pa.RecordBatch) -> PackReport:
        elapsed_s = time.monotonic() - self._began_s
        return PackReport(
            out=str(output.folder),
            rows=self._annotations.row_count,
            packed=manifest.clip_count,
            rejected=manifest.reject_counts,
            flags=_counts(batch.column("flags").flatten()),
            shards=len(manifest.shards),
            size_bytes=sum(shard.size_bytes for shard in manifest.shards),
            media_s=manifest.duration_s,
            fresh=self._fresh,
            elapsed_s=elapsed_s,
        )


def _record(candidate: Candidate, media: PackedMedia) -> Record:
    clip = candidate.clip
    return Record(
        key=candidate.key,
        row=clip.row,
        source_id=clip.id,
        source=candidate.located.path,
        source_start_s=media.start_s,
        duration_s=media.duration_s,
        split=candidate.split,
        video=media.video,
        audio=media.audio,
        labels=clip.labels,
        events=clip.events,
        flags=media.flags,
        columns=clip.columns,
    )


def _gathered(paths: Iterable[Path]) -> tuple[tuple[ShardInfo, ...], pa.RecordBatch]:
    """The shards of all parts, and their rows as the one record batch of the index."""
    parts = [read_part(path) for path in paths]
    table = pa.Table.from_batches([part.batch for part in parts]).combine_chunks()
    batches = table.to_batches()
    batch = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
    return tuple(part.info for part in parts), batch


def _counts(values: pa.Array) -> dict[str, int]:
    """How often each text stands in a column, by text."""
    counted = pc.value_counts(values)
    return dict(sorted(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)))


def _counted(rejects: Sequence[Reject]) -> str:
    return ", ".join(f"{reason.value} {count}" for reason, count in Counter(r.reason for r in rejects).most_common())
