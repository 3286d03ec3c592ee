"""An indexing run: tars → samples → workers → a part a shard → index and manifest."""

import math
import platform
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, BinaryIO

from shardkit.clip import Reason, Reject
from shardkit.cores import usable_cores
from shardkit.errors import StorageError, TooManyRejectsError, UsageError
from shardkit.format.digest import json_digest
from shardkit.format.index import counts_of
from shardkit.format.manifest import Manifest, ShardInfo
from shardkit.format.receipt import encode_receipt
from shardkit.format.record import Member, Placed, Record
from shardkit.indexing.gathering import TEXTS, Gathered, gather, part_batch
from shardkit.indexing.job import IndexJob
from shardkit.indexing.outcome import IndexProgress, IndexReport
from shardkit.indexing.output import IndexOutput
from shardkit.indexing.sample_media import ProbedSample, SampleMedia
from shardkit.indexing.sample_texts import SampleTexts, UnreadableTextError, split_of_name
from shardkit.indexing.samples import MOST_SAMPLE_BYTES, HeldMembers, Sample, SamplesSeen, samples_of
from shardkit.indexing.tar_members import TarMember, TarMembers
from shardkit.indexing.tars import Tar, find_tars
from shardkit.isolation.pool import IsolatedWorkers
from shardkit.planning.order import ORDER_VERSION
from shardkit.storage.files import storage_errors
from shardkit.storage.folders import open_folder
from shardkit.storage.stores import open_read_folder
from shardkit.storage.streams import Streams

LIBRARIES = ("av", "numpy", "pyarrow", "shardkit", "simplejpeg")
"""Packages whose versions may show in what is decoded."""
LOOK_AHEAD = 4
"""Samples under way for each worker, whose bytes are held: fewer where they are large."""
FORMAT = "webdataset"


def run_job(job: IndexJob, progress: Callable[[IndexProgress], None] | None = None) -> IndexReport:
    """Indexes.

    Args:
        job: Tars, output and settings.
        progress: Is told how far the run is, after every sample.

    Raises:
        UsageError: The options do not fit together, or output is there already.
        DataError: What an earlier run left cannot be read, or labels contradict each other.
        StorageError: A tar cannot be read, or the output not written.
        TooManyRejectsError: More samples are rejected than `max_rejects` allows, or all of them.
        WorkerError: Worker processes cannot be started.
    """
    return _Run(job, progress).run()


@dataclass(slots=True)
class _Shard:
    """A shard under way."""

    number: int
    tar: Tar
    info: ShardInfo | None = None
    """Once all of it was read; without its clips, which are not known before the workers are."""
    samples: int = 0
    waiting: int = 0
    """Samples that workers have not answered for."""
    rows: list[Placed] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    seen: SamplesSeen = field(default_factory=SamplesSeen)

    def turn_away_scattered(self) -> None:
        """At the tar's end: rejects samples whose members do not lie side by side, whatever came of the first."""
        scattered = self.seen.scattered
        self.rows = [placed for placed in self.rows if placed.record.row not in scattered]
        self.rejects = [reject for reject in self.rejects if reject.row not in scattered]
        detail = (
            "its members do not lie side by side in the tar, as those of a WebDataset have to; write one sample after "
            "the other, as `tar --sort=name` does"
        )
        for number, key in scattered.items():
            self.rejects.append(Reject(number, key, Reason.NOT_ADJACENT, f"{key}: {detail}", self.tar.name))


@dataclass(frozen=True, slots=True)
class _Task:
    """A sample that is with a worker."""

    shard: _Shard
    row: int
    """1-based number of the sample in its shard."""
    key: str
    video: Member | None
    """Where the video is, or the pictures with all that lies between them; its digest is not known yet."""
    picture_offsets: tuple[int, ...]
    """From there."""
    sound: Member | None
    texts: SampleTexts
    source: str
    """Name of the member that it is told by."""


class _Run:
    """One indexing run under way."""

    def __init__(self, job: IndexJob, progress: Callable[[IndexProgress], None] | None) -> None:
        self._job = job
        self._progress = progress
        self._began_s = time.monotonic()
        self._set = find_tars(job.sources, job.out)
        base = open_read_folder(self._set.base, probe=self._set.tars[0].name)
        self._streams = Streams(base)
        self._settings = job.settings(pictures=self._holds_pictures())
        self._libraries = {name: version(name) for name in LIBRARIES} | {"machine": platform.machine()}
        self._read_bytes = self._done = self._rejected = self._fresh = 0

    def run(self) -> IndexReport:
        job = self._job
        with IndexOutput(open_folder(self._set.out)) as output:
            if job.resume and output.finished():
                return self._check_finished(output)
            output.begin(self._plan_digest(), resume=job.resume, overwrite=job.overwrite)
            try:
                self._index_shards(output)
                return self._commit(output)
            except StorageError as exc:
                raise StorageError(f"{exc}; then go on with --resume") from exc

    @contextmanager
    def _open(self, tar: Tar) -> Iterator[BinaryIO]:
        """A tar's bytes as a stream."""
        with storage_errors(self._set.base.child(tar.name)), self._streams.open(tar.name, tar.size_bytes) as stream:
            yield stream

    def _holds_pictures(self) -> bool:
        """Whether frames are pictures of their own: the first sample with frames in the first tar decides for all."""
        with self._open(self._set.tars[0]) as stream:
            for sample in samples_of(TarMembers(stream, wants=_nothing)):
                if sample.repeated is None and (sample.video is not None or sample.of_pictures):
                    return sample.of_pictures
        return False

    def _plan_digest(self) -> str:
        """Names everything that decides the index; what a resumed run must agree in."""
        return json_digest(
            {
                "settings": self._settings.to_json(),
                "labels": dict(self._job.texts.label_fields),
                "classes": self._job.texts.classes,
                "libraries": self._libraries,
                "tars": [[tar.name, tar.size_bytes] for tar in self._set.tars],
                "base": self._set.far_base,
            }
        )

    def _index_shards(self, output: IndexOutput) -> None:
        todo = []
        parts = output.parts(len(self._set.tars))
        for number, (tar, part) in enumerate(zip(self._set.tars, parts, strict=True)):
            if part is None:
                todo.append((number, tar))
                continue
            self._read_bytes += tar.size_bytes
            self._done += part.batch.num_rows + len(part.rejects)
            self._rejected += len(part.rejects)
        workers = self._job.workers or max(1, int(usable_cores()))
        with IsolatedWorkers(
            "shardkit.indexing.worker",
            self._settings.to_json(),
            workers=workers,
            clip_timeout_s=self._job.clip_timeout_s,
            look_ahead=LOOK_AHEAD,
        ) as pool:
            begun: deque[_Shard] = deque()
            for task, answer in pool.map(self._requests(todo, begun)):
                self._take(task, answer)
                self._write_parts(begun, output)
            self._write_parts(begun, output)

    def _requests(
        self, tars: Sequence[tuple[int, Tar]], begun: deque[_Shard]
    ) -> Iterator[tuple[_Task, dict[str, Any]]]:
        """All samples of the tars in order; workers go on to the next shard while one is being finished."""
        for number, tar in tars:
            shard = _Shard(number, tar)
            begun.append(shard)
            before_bytes = self._read_bytes
            with self._open(shard.tar) as stream:
                members = TarMembers(stream, wants=HeldMembers())
                for sample in samples_of(members):
                    self._read_bytes = before_bytes + members.size_bytes
                    request = self._request(shard, sample)
                    if request is not None:
                        shard.waiting += 1
                        yield request
                    # Before the next one is read.
                    del sample, request
            self._read_bytes = before_bytes + shard.tar.size_bytes
            if members.damage is not None:
                shard.samples += 1
                self._reject(shard, shard.samples, "", Reason.UNREADABLE, f"{shard.tar.name}: {members.damage}")
            shard.info = ShardInfo(shard.tar.name, 0, members.size_bytes, members.digest)

    def _request(self, shard: _Shard, sample: Sample) -> tuple[_Task, dict[str, Any]] | None:
        """What a worker is asked about a sample; None where it is rejected without, or is a part of an earlier one."""
        if shard.seen.has_part(sample):
            return None
        shard.samples += 1
        row, key = shard.samples, sample.key

        def reject(reason: Reason, detail: str) -> None:
            self._reject(shard, row, key, reason, f"{key}: {detail}")

        if not shard.seen.adds(sample, row):
            reject(Reason.DUPLICATE, "an earlier sample of this tar has the same key, and is kept; rename one of them")
            return None
        if sample.repeated is not None:
            reject(
                Reason.DUPLICATE,
                f"has two members .{sample.repeated}, and which one is meant cannot be told (webdataset refuses such a "
                "tar); leave one of them out",
            )
            return None
        if sample.size_bytes > MOST_SAMPLE_BYTES:
            reject(
                Reason.TOO_LONG,
                f"{sample.size_bytes:,} bytes, at most {MOST_SAMPLE_BYTES:,} are held; cut it into shorter ones",
            )
            return None
        try:
            texts = self._job.texts.read(sample)
        except UnreadableTextError as exc:
            reject(Reason.BAD_ROW, f"{exc}; mend it, or leave the sample out")
            return None
        sound = sample.sound
        video, pictures = sample.video, sample.pictures if sample.of_pictures else ()
        if (video or pictures) and sample.of_pictures != self._settings.pictures:
            found, wanted = ("a video", "pictures") if self._settings.pictures else ("pictures", "a video")
            reject(
                Reason.OTHER_KIND,
                f"holds {found}, and the first sample of all {wanted}: an index is of one kind; write the two "
                "into tars of their own, and index them apart",
            )
            return None
        named = video or (pictures[0] if pictures else sound)
        if named is None:
            reject(Reason.NO_VIDEO, "neither video nor pictures nor sound beside it; leave it out")
            return None
        first = min((picture.offset for picture in pictures), default=0)
        task = _Task(
            shard,
            row,
            key,
            video=_place(video) if video is not None else _span(pictures),
            picture_offsets=tuple(picture.offset - first for picture in pictures),
            sound=None if sound is None else _place(sound),
            texts=texts,
            source=named.name,
        )
        media = SampleMedia(
            named.name,
            None if video is None else _data(video),
            [_data(picture) for picture in pictures],
            None if sound is None else _data(sound),
        )
        return task, media.to_wire()

    def _take(self, task: _Task, answer: dict[str, Any]) -> None:
        task.shard.waiting -= 1
        self._fresh += 1
        if "reason" in answer:
            self._reject(task.shard, task.row, task.key, Reason(answer["reason"]), answer["detail"])
            return
        task.shard.rows.append(_placed(task, ProbedSample.from_wire(answer)))
        self._count()

    def _reject(self, shard: _Shard, row: int, key: str, reason: Reason, detail: str) -> None:
        shard.rejects.append(Reject(row, key, reason, detail, shard.tar.name))
        self._rejected += 1
        self._count()

    def _count(self) -> None:
        self._done += 1
        if self._progress is not None:
            elapsed_s = time.monotonic() - self._began_s
            self._progress(
                IndexProgress(
                    self._read_bytes, self._set.size_bytes, self._done, self._rejected, elapsed_s, self._fresh
                )
            )

    def _write_parts(self, shards: deque[_Shard], output: IndexOutput) -> None:
        """Writes the parts of shards that are done, and lets go of them."""
        while shards and shards[0].info is not None and not shards[0].waiting:
            shard = shards.popleft()
            assert shard.info is not None
            self._rejected -= len(shard.rejects)
            shard.turn_away_scattered()
            self._rejected += len(shard.rejects)
            info = ShardInfo(shard.info.name, len(shard.rows), shard.info.size_bytes, shard.info.xxh3)
            output.write_part(shard.number, encode_receipt(info, part_batch(shard.rows), shard.rejects))

    def _commit(self, output: IndexOutput) -> IndexReport:
        job = self._job
        parts = [part for part in output.parts(len(self._set.tars)) if part is not None]
        found = gather(parts, job.texts)
        self._check_rejects(found, output)
        output.write_rejects(found.rejects)
        manifest = Manifest(
            name=self._set.base.name,
            order_version=ORDER_VERSION,
            settings=self._settings.manifest(audio_codec=found.audio_codec),
            libraries=self._libraries,
            label_sets=found.label_sets,
            event_classes=(),
            columns=found.columns,
            splits=counts_of(found.batch.column("split")),
            clip_count=found.batch.num_rows,
            duration_s=math.fsum(found.batch.column("duration_s").to_numpy()),
            reject_counts=dict(sorted(Counter(reject.reason.value for reject in found.rejects).items())),
            shards=tuple(part.info for part in parts),
            index=output.write_index(found.batch),
            annotations={"format": FORMAT, "rows": found.sample_count, "plan": self._plan_digest()},
            packed=False,
            base=self._set.far_base,
        )
        output.commit(manifest)
        return self._report(manifest, counts_of(found.batch.column("flags").flatten()))

    def _check_rejects(self, found: Gathered, output: IndexOutput) -> None:
        counted = ", ".join(
            f"{reason.value} {count}" for reason, count in Counter(r.reason for r in found.rejects).most_common()
        )
        if not found.batch.num_rows:
            output.write_rejects(found.rejects)
            raise TooManyRejectsError(
                f"none of {found.sample_count} samples could be indexed ({counted or 'no samples'}); "
                f"{output.location}/rejects.jsonl names each; check --require, and what the tars hold"
            )
        if len(found.rejects) > self._job.max_rejects * found.sample_count:
            output.write_rejects(found.rejects)
            raise TooManyRejectsError(
                f"{len(found.rejects)} of {found.sample_count} samples are rejected, more than --max-rejects "
                f"{self._job.max_rejects:g} allows ({counted}); {output.location}/rejects.jsonl names each; mend them "
                "and start over with --overwrite, or allow more and go on with --resume"
            )

    def _check_finished(self, output: IndexOutput) -> IndexReport:
        """The report of an index that is complete already, if it is the one that was asked for."""
        manifest = output.manifest()
        if manifest.packed or manifest.annotations.get("plan") != self._plan_digest():
            raise UsageError(
                f"{output.location}: holds a data set of other settings, tars or library versions; choose another "
                "folder with --out, or replace an index with --overwrite"
            )
        return self._report(manifest, {})

    def _report(self, manifest: Manifest, flags: dict[str, int]) -> IndexReport:
        return IndexReport(
            out=str(self._set.out),
            # Not the rows of `annotations`, which are another file's once the index was relabelled.
            samples=manifest.clip_count + sum(manifest.reject_counts.values()),
            indexed=manifest.clip_count,
            rejected=manifest.reject_counts,
            flags=flags,
            shards=len(manifest.shards),
            size_bytes=sum(shard.size_bytes for shard in manifest.shards),
            compressed=self._set.compressed,
            media_s=manifest.duration_s,
            label_sets=tuple(label_set.name for label_set in manifest.label_sets),
            columns=manifest.columns,
            splits=manifest.splits,
            fresh=self._fresh,
            elapsed_s=time.monotonic() - self._began_s,
        )


def _nothing(name: str, size_bytes: int) -> bool:  # noqa: ARG001
    return False


def _data(member: TarMember) -> bytes:
    assert member.data is not None
    return member.data


def _place(member: TarMember) -> Member:
    return Member(member.offset, member.size_bytes, 0)


def _span(pictures: tuple[TarMember, ...]) -> Member | None:
    """All pictures, with what lies between them."""
    if not pictures:
        return None
    first = min(picture.offset for picture in pictures)
    return Member(first, max(picture.offset + picture.size_bytes for picture in pictures) - first, 0)


def _placed(task: _Task, probed: ProbedSample) -> Placed:
    video, audio = probed.video, probed.audio
    if video is not None and task.picture_offsets:
        video = replace(video, packet_offset=task.picture_offsets)
    record = Record(
        key=task.key,
        row=task.row,
        source_id=task.key,
        source=task.source,
        source_start_s=0.0,
        duration_s=probed.duration_s,
        split=task.texts.split or split_of_name(task.shard.tar.name),
        video=video,
        audio=audio,
        flags=probed.flags,
        columns={TEXTS: task.texts.to_text()},
    )
    heard = task.sound or task.video
    return Placed(
        record,
        task.shard.number,
        video=None if video is None or task.video is None else replace(task.video, xxh3=probed.video_xxh3),
        audio=None if audio is None or heard is None else replace(heard, xxh3=probed.audio_xxh3),
        message=None,
    )
