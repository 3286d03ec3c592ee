"""fetch_media: spans come from a real server through yt-dlp, begin where they should, and are never half there."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import fetch_media
import pytest
from fetch_media import Manners, Result, Span, Status
from hypothesis import given
from hypothesis import strategies as st
from synth_media import LEAVES, Row, Variety, read_code, write_clip
from watching import children, wait_until

import shardkit
from shardkit.annotations import AnnotationSet, read_annotations
from shardkit.clip import Clip
from shardkit.packing.sources import find_sources
from shardkit.storage.locations import Location

FPS = 10
SOURCE_S = 20.0
FILES = Path(__file__).parents[3] / "shared/data/annotations"
needs_files = pytest.mark.skipif(not FILES.exists(), reason="no ../shared/data with the released annotation files")
QUICK = ("--sleep", "0", "--limit-rate", "0")


@dataclass
class Sources:
    """A video site on loopback: what it has, how it answers, and what it was asked for."""

    media: dict[str, bytes]
    status: dict[str, int] = field(default_factory=dict)
    """Id to the status that it is answered with instead."""
    cut_at: dict[str, int] = field(default_factory=dict)
    """Id to the byte after which the connection ends."""
    stall_at: dict[str, int] = field(default_factory=dict)
    """Id to the byte after which nothing comes."""
    asked: Counter = field(default_factory=Counter)
    stalled: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event = field(default_factory=threading.Event)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sources: Sources

    def log_message(self, *_):
        pass

    def do_GET(self):
        sources, id = self.sources, self.path.rpartition("/")[2]
        sources.asked[id] += 1
        status = sources.status.get(id, 200 if id in sources.media else 404)
        if status != 200:
            self.send_error(status)
            return
        data = sources.media[id]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, last = (int(asked[1]), int(asked[2] or len(data) - 1)) if asked else (0, len(data) - 1)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(last + 1 - start))
        self.end_headers()
        end = min(last + 1, sources.cut_at.get(id, len(data)))
        self.close_connection = end < last + 1
        stop = sources.stall_at.get(id, end)
        with suppress(OSError):  # who has seen enough hangs up
            self.wfile.write(data[start:stop])
            if stop < end:
                self.wfile.flush()
                sources.stalled.set()
                sources.goes_on.wait()
                self.wfile.write(data[max(start, stop) : end])


@contextmanager
def serving(media):
    """The site, for as long as the block runs."""
    sources = Sources(media)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"sources": sources}))
    server.handle_error = lambda *_: None
    sources.url = f"http://127.0.0.1:{server.server_port}/watch/{{id}}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield sources
    finally:
        sources.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A source of SOURCE_S whose frames say which they are; key frames are six seconds apart."""
    path = tmp_path_factory.mktemp("source") / "source.mp4"
    variety = Variety(
        sizes=((128, 96),), frame_rates_hz=(Fraction(FPS),), sample_rates_hz=(16000,), duration_s=SOURCE_S
    )
    write_clip(path, Row(1, path.name, 0, LEAVES[0]), variety=variety)
    return path.read_bytes()


@pytest.fixture
def site(source):
    """A site with three sources."""
    with serving(dict.fromkeys(("-abc_DEF123", "other", "third"), source)) as sources:
        yield sources


def table(path, *rows):
    """An annotation file of (id, start_s, end_s, label)."""
    path.write_text("id,start_s,end_s,label\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def fetch(site, annotations, out, *options):
    """Runs the tool; returns its exit code."""
    return fetch_media.main([str(annotations), "--out", str(out), "--url", site.url, *QUICK, *options])


def report(out):
    """Stem to line of the report."""
    lines = [json.loads(line) for line in (out / "fetched.jsonl").read_text().splitlines()]
    assert "your own matter" in lines.pop(0)["about"]
    return {line["stem"]: line for line in lines}


def frames(path):
    """Time in seconds and number of every frame."""
    with av.open(str(path)) as container:
        return [(frame.time, read_code(frame.to_ndarray(format="rgb24")).frame) for frame in container.decode(video=0)]


@dataclass(frozen=True)
class Fetched:
    """What one run with all that can happen left."""

    out: Path
    annotations: Path
    site: Sources
    code: int
    asked: Counter


@pytest.fixture(scope="module")
def fetched(source, tmp_path_factory):
    """A run over sources that are there, gone, failing for now, too short and not nameable; its site still runs."""
    root = tmp_path_factory.mktemp("fetched")
    annotations = table(
        root / "clips.csv",
        ("-abc_DEF123", 5, 15, "Gong"),
        ("-abc_DEF123", 5, 7, "Gong"),
        ("-abc_DEF123", 12.34, 14.34, "Flute"),
        ("other", "", "", "Flute"),
        ("gone", 3, 5, "Piano"),
        ("busy", 3, 5, "Piano"),
        ("late", 30, 40, "Piano"),
        ("../evil", 1, 3, "Piano"),
        ("broken", 2, 9, "Piano"),
    )
    with serving(dict.fromkeys(("-abc_DEF123", "other", "broken", "late"), source)) as site:
        site.status["busy"] = 503
        site.cut_at["broken"] = len(source) // 3
        code = fetch(site, annotations, root / "out", "--workers", "2")
        yield Fetched(root / "out", annotations, site, code, Counter(site.asked))


def test_every_span_is_a_file_that_is_named_as_pack_finds_it(fetched):
    """Cut spans, whole sources, and nothing else: no half file, and nothing outside the folder."""
    files = {str(path.relative_to(fetched.out.parent)) for path in fetched.out.parent.rglob("*") if path.is_file()}
    expected = ("-abc_DEF123_000005.mp4", "-abc_DEF123_12340_14340.mp4", "other.mp4", "fetched.jsonl")
    assert files == {"clips.csv", *(f"out/{name}" for name in expected)}


def test_the_report_says_what_became_of_every_span(fetched):
    """Fetched, gone with a reason, failed for now, refused: a line each, with the rows, in the file's order."""
    lines = report(fetched.out)
    assert {stem: (line["status"], line["reason"], line["rows"]) for stem, line in lines.items()} == {
        "-abc_DEF123_000005": ("fetched", None, [1, 2]),
        "-abc_DEF123_12340_14340": ("fetched", None, [3]),
        "other": ("fetched", None, [4]),
        "gone_000003": ("gone", "404", [5]),
        "busy_000003": ("failed", None, [6]),
        "late_000030": ("gone", "too_short", [7]),
        "../evil_000001": ("refused", "unsafe_id", [8]),
        "broken_000002": ("failed", None, [9]),
    }
    assert [line["rows"][0] for line in lines.values()] == sorted(line["rows"][0] for line in lines.values())
    assert "503" in lines["busy_000003"]["detail"]
    assert fetched.code == 1


@pytest.mark.parametrize(
    ("name", "start_s", "count"), [("-abc_DEF123_000005", 5.0, 100), ("-abc_DEF123_12340_14340", 12.34, 20)]
)
def test_a_cut_span_begins_where_the_annotation_says(fetched, name, start_s, count):
    """Each frame stands at its source time less the start, also between key frames and between frames."""
    found = frames(fetched.out / f"{name}.mp4")
    assert len(found) == count
    first = -(-round(start_s * 1000) * FPS // 1000)
    assert [number for _, number in found] == list(range(first, first + count))
    assert [time_s for time_s, _ in found] == pytest.approx([n / FPS - start_s for _, n in found], abs=1e-3)


def test_a_whole_source_is_what_the_server_has(fetched, source):
    """Whole sources are not encoded anew."""
    assert (fetched.out / "other.mp4").read_bytes() == source


def test_packed_clips_begin_where_the_annotation_says(fetched, tmp_path):
    """The packed clip's frames are those of the span's instants."""
    shardkit.pack(
        fetched.annotations, media=fetched.out, out=tmp_path / "shards", frames_per_segment=FPS, size=96, workers=2
    )
    clips = shardkit.open(tmp_path / "shards")
    rows = clips.table.to_pylist()
    seen = {}
    for place, row in enumerate(rows):
        seen[row["row"]] = [read_code(picture).frame for picture in clips[place].video.transpose(0, 2, 3, 1)]
    assert seen[1] == list(range(50, 150))
    assert seen[2] == list(range(50, 70))
    assert seen[3][0] in (123, 124)
    assert seen[4] == list(range(200))


def test_a_rerun_asks_only_for_what_failed(fetched):
    """What is there and what is known to be gone is not asked for again; --retry-gone asks."""
    before = Counter(fetched.site.asked)
    assert fetch(fetched.site, fetched.annotations, fetched.out) == 1
    assert set(fetched.site.asked - before) == {"busy", "broken"}
    lines = report(fetched.out)
    assert {stem for stem, line in lines.items() if line["status"] == "there"} == {
        "-abc_DEF123_000005",
        "-abc_DEF123_12340_14340",
        "other",
    }
    assert lines["gone_000003"]["reason"] == "404"
    before = Counter(fetched.site.asked)
    fetch(fetched.site, fetched.annotations, fetched.out, "--retry-gone")
    assert set(fetched.site.asked - before) == {"busy", "broken", "gone", "late"}


def test_whole_sources_serve_all_their_spans(site, source, tmp_path):
    """With --whole a source of several spans is fetched once, and nothing is left to do then."""
    annotations = table(tmp_path / "t.csv", ("other", 1, 3, "a"), ("other", 7.5, 9, "b"))
    assert fetch(site, annotations, tmp_path / "out", "--whole") == 0
    assert [path.name for path in (tmp_path / "out").glob("*.mp4")] == ["other.mp4"]
    asked = Counter(site.asked)
    assert fetch(site, annotations, tmp_path / "out") == 0
    assert site.asked == asked


def test_what_is_no_media_fails_for_now_and_is_asked_for_again(site, source, tmp_path):
    """A page in the place of a video gets no name, and is not taken for the source by the next run."""
    site.media["other"] = b"<html>Come back later</html>"
    annotations = table(tmp_path / "t.csv", ("other", "", "", "a"))
    assert fetch(site, annotations, tmp_path / "out") == 1
    assert not list((tmp_path / "out").glob("*.mp4"))
    site.media["other"] = source
    assert fetch(site, annotations, tmp_path / "out") == 0
    assert (tmp_path / "out" / "other.mp4").read_bytes() == source


@pytest.mark.parametrize("how", ["damaged", "shorter"])
def test_a_file_that_is_not_whole_is_fetched_again(site, tmp_path, how):
    """A file that ends early, or that was cut for a shorter span, is replaced."""
    out = tmp_path / "out"
    path = out / "other_000001.mp4"
    fetch(site, table(tmp_path / "short.csv", ("other", 1, 2, "a")), out)
    assert len(frames(path)) == FPS
    if how == "damaged":
        os.truncate(path, path.stat().st_size // 2)
    end_s = 2 if how == "damaged" else 3
    assert fetch(site, table(tmp_path / "t.csv", ("other", 1, end_s, "a")), out) == 0
    assert len(frames(path)) == FPS * (end_s - 1)


def test_reports_of_several_annotation_files_stay(site, tmp_path):
    """What is known to be gone of another annotation file is still known."""
    first = table(tmp_path / "first.csv", ("nowhere", 1, 3, "a"))
    fetch(site, first, tmp_path / "out")
    fetch(site, table(tmp_path / "second.csv", ("absent", 1, 3, "a")), tmp_path / "out")
    asked = Counter(site.asked)
    assert fetch(site, first, tmp_path / "out") == 0
    assert site.asked == asked


def test_a_report_that_breaks_off_is_read_up_to_there(site, tmp_path):
    """Half a line, of a run that was killed, costs that line only."""
    annotations = table(tmp_path / "t.csv", ("nowhere", 1, 3, "a"), ("absent", 1, 3, "a"))
    fetch(site, annotations, tmp_path / "out")
    path = tmp_path / "out" / "fetched.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    asked = Counter(site.asked)
    fetch(site, annotations, tmp_path / "out")
    assert set(site.asked - asked) == {"absent"}
    assert set(report(tmp_path / "out")) == {"nowhere_000001", "absent_000001"}


def test_a_server_that_refuses_is_not_asked_on_and_on(site, tmp_path):
    """After several failures in a row the run ends, and the rest waits."""
    ids = [f"busy{number}" for number in range(fetch_media.GIVE_UP + 3)]
    site.status = dict.fromkeys(ids, 503)
    assert fetch(site, table(tmp_path / "t.csv", *((id, 1, 3, "a") for id in ids)), tmp_path / "out") == 1
    counts = Counter(line["status"] for line in report(tmp_path / "out").values())
    assert counts["waiting"] in (2, 3)  # the next may be on its way
    assert counts["failed"] + counts["waiting"] == len(ids)


@pytest.mark.parametrize(("whole", "number"), [(False, signal.SIGINT), (True, signal.SIGTERM)])
def test_stopped_in_the_middle_it_leaves_no_half_file(site, source, tmp_path, whole, number):
    """After Ctrl-C or SIGTERM no process and no file of a half span is there, and the same command goes on."""
    site.stall_at["other"] = len(source) // 2
    annotations = table(tmp_path / "t.csv", ("third", 1, 2, "a"), ("other", 14, 16, "b"), ("-abc_DEF123", 1, 2, "b"))
    out = tmp_path / "out"
    options = ["--whole"] * whole
    command = [sys.executable, fetch_media.__file__, str(annotations), "--out", str(out), "--url", site.url, *QUICK]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert site.stalled.wait(100)
    begun = wait_until(lambda: children(process.pid) or whole)
    process.send_signal(number)
    said = process.communicate(timeout=100)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number], said
    assert "waiting 2" in said[0]
    files = {path.name for path in out.rglob("*.mp4")}
    assert files == ({"third.mp4"} if whole else {"third_000001.mp4"})
    assert whole or not any(Path(f"/proc/{pid}").exists() for pid in begun)
    site.goes_on.set()
    assert fetch(site, annotations, out, *options) == 0
    assert not (out / ".fetching").exists()


def test_two_runs_do_not_share_a_folder(site, tmp_path, capsys):
    """A second run into the same folder is refused while the first one is at it."""
    annotations = table(tmp_path / "t.csv", ("other", 1, 2, "a"))
    with fetch_media._work_folder(tmp_path / "out"):
        assert fetch(site, annotations, tmp_path / "out") == 2
    assert "another run" in capsys.readouterr().err


def test_help_says_whose_matter_terms_are(capsys):
    """The help names what the user answers for."""
    with pytest.raises(SystemExit):
        fetch_media.main(["--help"])
    assert "your own matter: read the terms" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "options", [("--url", "http://127.0.0.1/x"), ("--limit-rate", "fast"), ("--workers", "0"), ("--column", "id")]
)
def test_wrong_options_are_refused(tmp_path, capsys, options):
    """A wrong option ends with exit code 2 and one line, before anything is made."""
    annotations = table(tmp_path / "t.csv", ("other", 1, 2, "a"))
    assert fetch_media.main([str(annotations), "--out", str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ("ERROR: [youtube] x: Private video. Sign in if you've been granted access to this video", "gone", "private"),
        ("ERROR: [youtube] x: Video unavailable. This video has been removed by the uploader", "gone", "removed"),
        ("ERROR: [youtube] x: This video is no longer available because the account is terminated", "gone", "removed"),
        ("ERROR: [youtube] x: The uploader has not made this video available in your country", "gone", "geo"),
        ("ERROR: [youtube] x: Sign in to confirm your age. This video may be inappropriate", "gone", "age"),
        ("ERROR: [youtube] x: Join this channel to get access to members-only content", "gone", "members"),
        ("ERROR: [youtube] x: Video unavailable", "gone", "unavailable"),
        ("ERROR: [generic] x: Unable to download webpage: HTTP Error 410: Gone", "gone", "404"),
        ("ERROR: [youtube] x: Sign in to confirm you\u2019re not a bot. Use --cookies", "failed", None),
        ("ERROR: [youtube] x: Video unavailable. This content isn't available, try again later.", "failed", None),
        ("ERROR: [youtube] x: Requested format is not available. Use --list-formats", "failed", None),
        ("ERROR: [generic] x: Unable to download webpage: HTTP Error 429: Too Many Requests", "failed", None),
        ("ERROR: ffmpeg exited with code 183", "failed", None),
        # An id says nothing.
        ("ERROR: [generic] 404: Unable to download webpage: connection refused", "failed", None),
    ],
)
def test_what_yt_dlp_says_tells_gone_from_failed_for_now(said, status, reason):
    """What is removed, private or blocked is gone, with the reason; what may pass is not."""
    result = fetch_media._verdict(Span("x", "x", (1,), None, None), RuntimeError(said))
    assert (result.status.value, result.reason) == (status, reason)


@given(id=st.text(min_size=1), start_s=st.none() | st.integers(0, 10**6).map(lambda ms: ms / 1000))
def test_no_id_leads_out_of_the_folder(id, start_s):
    """Whatever an id is, its file lies in the folder itself, or it is refused."""
    clips = (Clip(row=1, id=id, start_s=start_s, end_s=None if start_s is None else start_s + 1),)
    annotated = AnnotationSet("table", 1, clips, (), (), (), ())
    (planned,) = fetch_media.plan(annotated, Path(__file__).parent, {}, whole=False, retry_gone=False)
    if isinstance(planned, Result):
        assert planned.status is Status.REFUSED
    else:
        assert Path(os.path.normpath(f"/folder/{planned.stem}.mp4")).parent == Path("/folder")
        assert "/" not in Manners().url_of(planned.id).partition("?")[2]


def test_rows_that_name_files_and_no_ids_are_refused(tmp_path):
    """Pack looks for such a file at its place alone: a fetched one would not be found."""
    clips = (Clip(row=1, id="abc", start_s=1.0, end_s=2.0, media="videos/abc.mp4"),)
    annotated = AnnotationSet("table", 1, clips, (), (), (), ())
    (result,) = fetch_media.plan(annotated, tmp_path, {}, whole=False, retry_gone=False)
    assert (result.status, result.reason) == (Status.REFUSED, "named_file")


@needs_files
def test_ave_is_refused(tmp_path, capsys):
    """AVE's file does not say where its clips are in their sources: the first ten seconds would be the wrong ones."""
    assert fetch_media.main([str(FILES / "AVE-Annotations.txt"), "--out", str(tmp_path / "out")]) == 2
    assert "AudioSet" in capsys.readouterr().err


@needs_files
@pytest.mark.parametrize(("name", "files"), [("AVO-65.csv", 5959), ("AVVP_eval_audio.csv", 1841)])
def test_real_files_name_their_spans(tmp_path, name, files):
    """Every clip of the released files is a ten-second span whose file pack would find."""
    annotated = read_annotations(FILES / name)
    planned = fetch_media.plan(annotated, tmp_path, {}, whole=False, retry_gone=False)
    assert (len(planned), len(annotated.clips)) == (files, files)
    assert all(isinstance(span, Span) and span.end_s == span.start_s + 10 for span in planned)
    (tmp_path / f"{planned[-1].stem}.mp4").touch()
    located, _ = find_sources(annotated.clips, Location.of(tmp_path))
    assert [each.clip.row for each in located] == list(planned[-1].rows)


def test_the_rate_is_kept_on_average(monkeypatch):
    """After a span that came faster than the limit, a worker waits for the rest of its time; never less than asked."""
    crew = fetch_media._Crew(None, (), Manners(limit_bytes_s=1000, sleep_s=2.0, workers=2))
    span = Span("x", "x", (1,), None, None)
    assert crew._pause_s(Result(span, Status.FETCHED, size_bytes=5000), 1.0) == 9.0
    assert crew._pause_s(Result(span, Status.FETCHED, size_bytes=500), 1.0) == 2.0
    assert crew._pause_s(Result(span, Status.GONE), 1.0) == 2.0
