"""Fetches the media that an annotation file names, span by span, through yt-dlp, into a folder for `shardkit pack`.

    python tools/fetch_media.py AVO-65.csv --out videos
    python tools/fetch_media.py clips.tsv --column id=ytid --out videos --whole --workers 2

Whether the sources are there, and whether you may fetch, keep and use them, is your own matter: read the terms of the
site and the rights of its uploaders first. Nothing here gets around a login, a country block or a deletion.

One file a span, named as pack finds it: ID_SSSSSS.mp4 where it starts at a whole second, else ID_STARTMS_ENDMS.mp4.
ID.mp4 is a whole source, where a row names no start, or with --whole. A span is cut by FFmpeg out of what yt-dlp finds
at the URL, and encoded anew (H.264 at the constant rate factor 18), so that it begins where the annotation says and not
at the key frame before; only its own bytes are asked for, where the server has ranges. With --whole sources stay as
they are, and pack cuts.

A file has its name once it is whole: what is begun lies in OUT/.fetching until then. OUT/fetched.jsonl says of every
file what became of it: fetched, there (already), gone (for good: removed, private, ...), failed (for now), refused (an
id that cannot name a file) or waiting (the run ended before). The same command goes on where a run stopped; what is
known to be gone is not asked for again without --retry-gone. Exit codes: 0 nothing is left to do, 1 some failed for now
or wait, 2 the options or the annotation file are wrong, 130 after Ctrl-C.

Needs yt-dlp and imageio-ffmpeg: pip install 'shardkit[fetch]'.
"""

import argparse
import enum
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from queue import Empty, SimpleQueue
from typing import Any, TextIO
from urllib.parse import quote

from shardkit.annotations import AnnotationRequest, AnnotationSet, read_annotations
from shardkit.cli.pairs import ALSO_NEEDED, COLUMN_NEEDED, pairs
from shardkit.cli.termination import ended_by_sigterm
from shardkit.clip import Clip
from shardkit.errors import DataError, ShardkitError, StorageError, UsageError
from shardkit.media.ffmpeg_log import silence_ffmpeg
from shardkit.media.probe import probe
from shardkit.packing.sources import EXTENSIONS, cut_stems, find_sources
from shardkit.sizes import parse_size, shown_size
from shardkit.storage.locations import Location

REPORT_NAME = "fetched.jsonl"
WORK_NAME = ".fetching"
"""Folder of what is begun; pack passes over names with a dot in front."""
SOURCE_MARK, CUT_MARK = "source-", "cut-"
"""What names in it begin with: sources can be gone on with, cuts are begun anew."""
TERMS = (
    "Whether the sources are there, and whether you may fetch, keep and use them, is your own matter: "
    "see the terms of the site and the rights of the uploaders."
)
LONGEST_NAME_BYTES = 240
"""Of a stem: file systems have 255 for a name with its extension."""
STALL_S = 30
"""Without a byte, after which a connection is given up."""
GIVE_UP = 10
"""Spans in a row that fail for now, after which a run ends: more questions make no server friendlier."""
WHOLE_SHARE = 0.9
"""Of the length that a file's header promises, which its packets have to reach."""
END_TIMEOUT_S = 5.0
YOUTUBE = "https://www.youtube.com/watch?v={id}"
CRF = 18
"""x264's constant rate factor for cut spans: next to no loss beside the first encoding's."""

_FOR_NOW = re.compile(
    r"not a bot|HTTP Error (403|408|429|5\d\d)|rate.?limit|too many requests|timed? ?out|temporar|try again|"
    r"will begin|premieres? in|requested format",
    re.IGNORECASE,
)
"""Messages that say nothing about the source: looked for first."""
_GONE: Mapping[str, "re.Pattern[str]"] = {
    reason: re.compile(words, re.IGNORECASE)
    for reason, words in {
        "private": r"private video|video is private",
        "removed": r"been removed|been deleted|terminated|no longer available|copyright",
        "geo": r"in your (country|location|region)|geo.?restrict",
        "age": r"confirm your age|age.restricted|inappropriate for some",
        "members": r"members.only|join this channel|requires payment",
        "404": r"HTTP Error (404|410)",
        "no_video": r"Unsupported URL",
        "unavailable": r"video unavailable|is not available|isn.t available|does not exist",
    }.items()
}
"""Reason to what yt-dlp says then; the first that fits."""


class Status(str, enum.Enum):
    """What became of a span."""

    FETCHED = "fetched"
    THERE = "there"
    GONE = "gone"
    FAILED = "failed"
    REFUSED = "refused"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Span:
    """What is to be fetched: one file."""

    stem: str
    """Name of the file, without its extension."""
    id: str
    rows: tuple[int, ...]
    """Rows of the annotation file that are cut from it."""
    start_s: float | None
    """None: the whole source."""
    end_s: float | None
    """None: to the source's end."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a span; a line of the report."""

    span: Span
    status: Status
    reason: str | None = None
    """Of what is gone or refused."""
    detail: str | None = None
    file: str | None = None
    """Relative to the folder."""
    size_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The line."""
        said = {"status": self.status.value, "reason": self.reason, "detail": self.detail}
        return {**asdict(self.span), **said, "file": self.file, "size_bytes": self.size_bytes}


@dataclass(frozen=True, slots=True)
class Manners:
    """Where sources are, and how they are asked for."""

    url: str = YOUTUBE
    height: int = 480
    sleep_s: float = 3.0
    """Between two fetches of one worker."""
    limit_bytes_s: int = 2_000_000
    """Of all workers together; 0 is no limit."""
    workers: int = 1

    def __post_init__(self) -> None:
        if "{id}" not in self.url:
            raise UsageError(f"--url {self.url}: put {{id}} where the id belongs, as in {YOUTUBE}")
        if self.workers < 1 or self.sleep_s < 0 or self.height < 1:
            raise UsageError("--workers and --height are 1 or more, --sleep is 0 or more")

    def url_of(self, id: str) -> str:
        """The page, or the file, of a source."""
        return self.url.replace("{id}", quote(id, safe=""))


# --- what is to be fetched -------------------------------------------------------------------------------


def plan(
    annotated: AnnotationSet, out: Path, known: Mapping[str, Mapping[str, Any]], *, whole: bool, retry_gone: bool
) -> list[Span | Result]:
    """Of every file that the annotation file names, in its order: what is to be fetched, or what is known already.

    Args:
        annotated: The annotation file.
        out: The folder.
        known: Stem to line of the report of earlier runs.
        whole: Whole sources, not spans.
        retry_gone: Ask again for what is known to be gone.

    Raises:
        StorageError: The folder cannot be read.
    """
    spans: dict[str, Span] = {}
    clips: dict[str, Clip] = {}
    for clip in annotated.clips:
        span = _span(clip, whole=whole)
        spans[span.stem] = _joined(spans[span.stem], span) if span.stem in spans else span
        clips.setdefault(span.stem, clip)
    # By pack's own rule: what it would find need not be fetched.
    located, _ = find_sources(list(clips.values()), Location.of(out))
    path_of = {id(each.clip): each.path for each in located}
    planned: list[Span | Result] = []
    for stem, span in spans.items():
        path, line = path_of.get(id(clips[stem])), known.get(stem, {})
        if path is not None and _is_whole(out / path, line, span):
            planned.append(Result(span, Status.THERE, file=path, size_bytes=(out / path).stat().st_size))
        elif refusal := _refusal(clips[stem], span):
            planned.append(Result(span, Status.REFUSED, *refusal))
        elif line.get("status") == Status.GONE.value and not retry_gone:
            planned.append(Result(span, Status.GONE, line.get("reason"), line.get("detail")))
        else:
            planned.append(span)
    return planned


def _span(clip: Clip, *, whole: bool) -> Span:
    cut = [] if whole else cut_stems(clip)
    if not cut:
        return Span(clip.id, clip.id, (clip.row,), None, None)
    return Span(cut[0], clip.id, (clip.row,), clip.start_s, clip.end_s)


def _joined(span: Span, other: Span) -> Span:
    """One file for both: of spans that start together, as long as the longer."""
    end_s = None if span.end_s is None or other.end_s is None else max(span.end_s, other.end_s)
    return replace(span, rows=(*span.rows, *other.rows), end_s=end_s)


def _refusal(clip: Clip, span: Span) -> tuple[str, str] | None:
    """Reason and detail, where no file can be named by a span, or none that pack would find."""
    id = clip.id
    if not id.isprintable() or {"/", "\\"} & set(id) or id.startswith("."):
        return "unsafe_id", f"{id!r} cannot name a file: an id has no slashes, and no dot in front; correct the row"
    if len(span.stem.encode(errors="replace")) > LONGEST_NAME_BYTES:
        return "unsafe_id", f"an id of {len(id)} characters cannot name a file; correct the row"
    media = PurePosixPath(clip.media or "")
    if len(media.parts) > 1 and media.stem == id:
        return "named_file", f"the row names the file {clip.media!r}, and no id of a source; give the ids in a column"
    return None


def _is_whole(path: Path, line: Mapping[str, Any], span: Span) -> bool:
    """Whether a file has all that its header promises; one that a run has seen whole is not read again."""
    if line.get("status") in (Status.FETCHED, Status.THERE) and line.get("file", "").endswith(path.name):
        is_cut = path.stem == span.stem and line["end_s"] is not None
        if is_cut and (span.end_s is None or span.end_s > line["end_s"]):
            return False  # for a shorter span, of another annotation file
        if line["size_bytes"] == path.stat().st_size:
            return True
    return _holds(path, share=WHOLE_SHARE)


def _holds(path: Path, *, share: float = 0.0) -> bool:
    """Whether a file is media, and reaches this share of the length that it promises."""
    try:
        info = probe(str(path))
    except DataError:
        return False
    return info.duration_s > 0 and info.duration_s >= share * (info.declared_duration_s or 0.0)


# --- fetching --------------------------------------------------------------------------------------------


class _Said:
    """yt-dlp's logger: what is wrong comes as an exception too."""

    def debug(self, message: str) -> None:
        """Says nothing."""

    info = warning = error = debug


class Fetcher:
    """Fetches spans into a folder, one at a time in each thread; no file has its name before it is whole."""

    def __init__(self, out: Path, manners: Manners) -> None:
        """Makes one.

        Raises:
            UsageError: yt-dlp or FFmpeg is not installed, or the folder's name holds a variable.
        """
        try:
            import imageio_ffmpeg  # noqa: PLC0415 - an extra: --help does without
            import yt_dlp  # noqa: PLC0415
        except ImportError as exc:
            raise UsageError(f"{exc.name} is not installed: pip install 'shardkit[fetch]'") from exc
        self._yt_dlp = yt_dlp
        self._ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        self._out, self._work, self._manners = out, (out / WORK_NAME).absolute(), manners
        if os.path.expandvars(self._work) != str(self._work):
            raise UsageError(f"{out}: yt-dlp would take a part of this name for a variable; choose another folder")
        self._keeping = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Lets no file come to its name any more, and ends what is under way."""
        with self._keeping:
            self._stopped = True
        # FFmpeg reads by itself, and yt-dlp waits for it without an end.
        for pid in _children_that_run(self._ffmpeg):
            with suppress(ProcessLookupError):
                os.kill(pid, 9)

    def fetch(self, span: Span) -> Result:
        """Fetches a span; what goes wrong is in the result."""
        if self._stopped:
            return Result(span, Status.WAITING)
        # Not by the id, which may be anything.
        digest = hashlib.blake2b(span.stem.encode(errors="surrogateescape"), digest_size=16).hexdigest()
        stem = f"{SOURCE_MARK if span.start_s is None else CUT_MARK}{digest}"
        try:
            with self._yt_dlp.YoutubeDL(self._options(stem, span)) as client:
                said = client.extract_info(self._manners.url_of(span.id))
        except self._yt_dlp.utils.YoutubeDLError as exc:
            return Result(span, Status.WAITING) if self._stopped else _verdict(span, exc)
        except OSError as exc:
            raise StorageError(f"{self._work}: cannot be written to: {exc}; then run the same command again") from exc
        downloads = said.get("requested_downloads") or [] if said else []
        if len(downloads) != 1:
            return Result(span, Status.GONE, "no_video", "there is no single video at its URL; check --url")
        return self._keep(span, Path(downloads[0]["filepath"]))

    def _options(self, stem: str, span: Span) -> dict[str, Any]:
        manners, limit = self._manners, self._manners.limit_bytes_s
        height = f"[height<=?{manners.height}]"
        options = {
            "quiet": True,
            "noprogress": True,
            "logger": _Said(),
            "noplaylist": True,
            "outtmpl": f"{self._work}/".replace("%", "%%") + f"{stem}.%(ext)s",
            "format": f"bv*{height}[ext=mp4]+ba[ext=m4a]/b{height}[ext=mp4]/bv*{height}+ba/b{height}/bv*+ba/b",
            "merge_output_format": "mp4",
            "ffmpeg_location": self._ffmpeg,
            "socket_timeout": STALL_S,
            "retries": 3,
            "fragment_retries": 3,
            "ratelimit": limit / manners.workers if limit else None,
            "progress_hooks": [self._on_progress],
        }
        if span.start_s is None:
            return options
        # The clip's times as the source has them, to the tick: FFmpeg would round to frames. A source that breaks off
        # is an error, and not a shorter clip.
        times = ["-fps_mode", "passthrough", "-enc_time_base:v", "demux"]
        return options | {
            "download_ranges": self._yt_dlp.utils.download_range_func(
                None, [(span.start_s, float("inf") if span.end_s is None else span.end_s)]
            ),
            "force_keyframes_at_cuts": True,
            "external_downloader_args": {
                "ffmpeg_i": ["-xerror", "-rw_timeout", str(STALL_S * 1_000_000)],
                "ffmpeg_o": [*times, "-crf", str(CRF), "-preset", "veryfast"],
            },
        }

    def _on_progress(self, _: Mapping[str, Any]) -> None:
        if self._stopped:
            raise self._yt_dlp.utils.DownloadCancelled

    def _keep(self, span: Span, begun: Path) -> Result:
        if not _holds(begun):
            begun.unlink(missing_ok=True)
            if span.start_s is None:
                return Result(span, Status.FAILED, detail="what came is no media that can be opened")
            return Result(span, Status.GONE, "too_short", f"the source ends before {span.start_s:g} s")
        known = begun.suffix.lower().removeprefix(".") in EXTENSIONS
        # By another name pack would not find it; FFmpeg goes by the content.
        path = self._out / f"{span.stem}{begun.suffix if known else '.mp4'}"
        size_bytes = begun.stat().st_size
        with self._keeping:
            if self._stopped:
                return Result(span, Status.WAITING)
            begun.replace(path)
        return Result(span, Status.FETCHED, file=path.name, size_bytes=size_bytes)

    def in_thread(self) -> None:
        """Has to be called first in a thread that fetches."""
        # Where yt-dlp looks whether it can cut; the option `ffmpeg_location` is looked at only after that.
        self._yt_dlp.postprocessor.ffmpeg.FFmpegPostProcessor._ffmpeg_location.set(self._ffmpeg)  # noqa: SLF001


def _verdict(span: Span, exc: Exception) -> Result:
    """Whether a source is gone, by what yt-dlp says."""
    said = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(exc)).removeprefix("ERROR: ").split())
    about = re.sub(r"^\[[^\]]*\] (\S+: )?", "", said)
    if not _FOR_NOW.search(about):
        for reason, words in _GONE.items():
            if words.search(about):
                return Result(span, Status.GONE, reason, said)
    if "ffmpeg exited" in about:
        said += "; perhaps its server gives no byte ranges, or the source breaks off: --whole fetches it as it is"
    return Result(span, Status.FAILED, detail=said)


def _children_that_run(program: str) -> Iterator[int]:
    """Processes of a program that this one has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and (folder / "exe").samefile(program):
                yield int(folder.name)


class _Crew:
    """Threads that fetch spans, and what comes of them."""

    def __init__(self, fetcher: Fetcher, spans: Sequence[Span], manners: Manners) -> None:
        self._fetcher, self._manners = fetcher, manners
        self._spans: SimpleQueue[Span] = SimpleQueue()
        for span in spans:
            self._spans.put(span)
        self._results: SimpleQueue[Result | BaseException | None] = SimpleQueue()
        self._stop = threading.Event()
        # Daemons: one that waits for a server must not hold up the end of the program.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(manners.workers)]

    def results(self) -> Iterator[Result]:
        """Yields what becomes of the spans, as they are done; those that were not begun before `stop` are left out."""
        for thread in self._threads:
            thread.start()
        left = len(self._threads)
        while left:
            result = self._results.get()
            if isinstance(result, BaseException):
                raise result
            if result is None:
                left -= 1
            else:
                yield result

    def stop(self) -> None:
        """Ends all threads that can be ended."""
        self._stop.set()
        self._fetcher.stop()
        deadline_s = time.monotonic() + END_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def wind_down(self) -> None:
        """Begins no further span."""
        self._stop.set()

    def _work(self) -> None:
        pause_s = 0.0
        try:
            self._fetcher.in_thread()
            while not self._stop.wait(pause_s):
                try:
                    span = self._spans.get_nowait()
                except Empty:
                    break
                began_s = time.monotonic()
                result = self._fetcher.fetch(span)
                self._results.put(result)
                pause_s = self._pause_s(result, time.monotonic() - began_s)
            self._results.put(None)
        except BaseException as exc:  # noqa: BLE001 - the main thread raises it
            self._results.put(exc)

    def _pause_s(self, result: Result, took_s: float) -> float:
        """How long to wait, so that a cut span too, which FFmpeg reads at full speed, keeps to the rate on average."""
        limit = self._manners.limit_bytes_s / self._manners.workers
        owed_s = (result.size_bytes or 0) / limit - took_s if limit else 0.0
        return max(self._manners.sleep_s, owed_s)


# --- the report ------------------------------------------------------------------------------------------


class Report:
    """What became of every span: a line is added as soon as it is known, and at the end each span has one."""

    def __init__(self, out: Path) -> None:
        self._path = out / REPORT_NAME
        self.known: dict[str, dict[str, Any]] = {}
        """Stem to line, of earlier runs and of this one."""
        with suppress(FileNotFoundError):
            for text in self._path.read_text("utf-8", errors="replace").splitlines():
                # The last one may be half a line, of a run that was killed.
                with suppress(ValueError):
                    line = json.loads(text)
                    if isinstance(line, dict) and isinstance(line.get("stem"), str):
                        self.known[line["stem"]] = line
        self._log: TextIO | None = None

    def add(self, result: Result) -> None:
        """Adds a line."""
        self.known[result.span.stem] = line = result.to_json()
        if self._log is None:
            self._log = self._path.open("a", encoding="utf-8")
            self._log.write("\n")  # behind half a line of a run that was killed
        self._log.write(_json_line(line))
        self._log.flush()

    def finish(self, results: Sequence[Result]) -> None:
        """Writes the report anew: terms first, then spans of other annotation files, then this one's in its order."""
        if self._log is not None:
            self._log.close()
        own = {result.span.stem: result.to_json() for result in results}
        others = [line for stem, line in self.known.items() if stem not in own]
        half = self._path.parent / WORK_NAME / REPORT_NAME
        lines = [{"about": TERMS}, *others, *own.values()]
        half.write_text("".join(map(_json_line, lines)), encoding="utf-8")
        half.replace(self._path)


def _json_line(content: Mapping[str, Any]) -> str:
    return json.dumps(content) + "\n"


@contextmanager
def _work_folder(out: Path) -> Iterator[None]:
    """The folder of what is begun, for this run alone; afterwards only sources that can be gone on with are in it."""
    work = out / WORK_NAME
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise UsageError(f"{out}: another run fetches into this folder; wait for it, or choose another") from exc
        try:
            yield
        finally:
            if not any(work.glob(f"{SOURCE_MARK}*")):
                shutil.rmtree(work, ignore_errors=True)
            for cut in work.glob(f"{CUT_MARK}*"):
                cut.unlink(missing_ok=True)


# --- command line ----------------------------------------------------------------------------------------


def _annotations(options: argparse.Namespace) -> AnnotationSet:
    request = AnnotationRequest(
        format=options.format,
        column=pairs("--column", options.column, COLUMN_NEEDED),
        also=pairs("--also", options.also, ALSO_NEEDED),
        duration_s=options.duration,
    )
    annotated = read_annotations(options.annotations, request)
    if annotated.format == "ave":
        raise UsageError(
            f"{options.annotations}: AVE's times are those within its ten-second clips, and where these are in their "
            "sources it does not say; take the clips that its authors publish, or give a table of AudioSet's segments "
            "(--column id=YTID --column start_s=start_seconds --column end_s=end_seconds)"
        )
    return annotated


def _run(options: argparse.Namespace) -> int:
    manners = Manners(
        url=options.url,
        height=options.height,
        sleep_s=options.sleep,
        limit_bytes_s=parse_size(options.limit_rate),
        workers=options.workers,
    )
    out: Path = options.out
    annotated = _annotations(options)
    fetcher = Fetcher(out, manners)
    with _work_folder(out):
        report = Report(out)
        planned = plan(annotated, out, report.known, whole=options.whole, retry_gone=options.retry_gone)
        spans = [each for each in planned if isinstance(each, Span)]
        print(f"{len(planned):,} files, {len(spans):,} to fetch. {TERMS}", flush=True)
        done: dict[str, Result] = {}
        crew = _Crew(fetcher, spans, manners)
        try:
            _take(crew, report, done, count=len(spans))
        finally:
            crew.stop()
            results = [
                done.get(each.stem, Result(each, Status.WAITING)) if isinstance(each, Span) else each
                for each in planned
            ]
            report.finish(results)
            _summarise(results, annotated, out)
    return int(any(result.status in (Status.FAILED, Status.WAITING) for result in results))


def _take(crew: _Crew, report: Report, done: dict[str, Result], *, count: int) -> None:
    in_a_row = 0
    for result in crew.results():
        done[result.span.stem] = result
        report.add(result)
        size = "" if result.size_bytes is None else shown_size(result.size_bytes)
        why = ": ".join(text for text in (result.reason, result.detail, size) if text)
        print(f"[{len(done):,}/{count:,}] {result.span.stem} {result.status.value} {why}", flush=True)
        in_a_row = in_a_row + 1 if result.status is Status.FAILED else 0
        if in_a_row == GIVE_UP:
            print(f"{GIVE_UP} in a row failed: the run ends here; go on later, or with a longer --sleep", flush=True)
            crew.wind_down()


def _summarise(results: Sequence[Result], annotated: AnnotationSet, out: Path) -> None:
    counts = Counter(result.status for result in results)
    parts = []
    for status in Status:
        if counts[status]:
            reasons = Counter(result.reason for result in results if result.status is status and result.reason)
            why = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items()))
            parts.append(f"{status.value} {counts[status]:,}{f' ({why})' if why else ''}")
    print(f"{', '.join(parts) or 'no spans'}; {out / REPORT_NAME} says it of each")
    if annotated.rejects:
        print(f"{len(annotated.rejects):,} rows name no span; packing says why of each")
    if counts[Status.FAILED] or counts[Status.WAITING]:
        print("the same command goes on with what failed or waits")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", help="annotation file, as shardkit pack reads it")
    parser.add_argument("--out", type=Path, required=True, help="folder that the media go to")
    parser.add_argument("--format", default="auto", help="of the annotation file (auto)")
    parser.add_argument("--column", action="append", default=[], metavar="OURS=THEIRS", help="for tables, as in pack")
    parser.add_argument("--also", action="append", default=[], metavar="ROLE=FILE", help="a further file, as in pack")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="length of the source, as in pack")
    parser.add_argument("--url", default=YOUTUBE, help=f"where a source is ({YOUTUBE})")
    parser.add_argument("--whole", action="store_true", help="whole sources as they are; pack cuts")
    parser.add_argument("--height", type=int, default=480, help="at most, in pixels, where there is a choice (480)")
    parser.add_argument("--sleep", type=float, default=3.0, help="seconds between two fetches (3)")
    parser.add_argument("--limit-rate", default="2MB", help="a second, on average; 0 is no limit (2MB)")
    parser.add_argument("--workers", type=int, default=1, help="fetches at once (1)")
    parser.add_argument("--retry-gone", action="store_true", help="ask again for what is known to be gone")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    silence_ffmpeg()
    try:
        with ended_by_sigterm("the same command goes on"):
            return _run(options)
    except ShardkitError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1 if isinstance(exc, StorageError) else 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
