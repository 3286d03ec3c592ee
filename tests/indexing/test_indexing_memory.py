"""How much of the tars is held at a time."""

import tracemalloc

import pytest
from tar_files import FAST, jpeg, rejects, write_tar

import shardkit
import shardkit.indexing.run
import shardkit.indexing.samples
from shardkit.format.manifest import ShardInfo
from shardkit.format.receipt import Receipt
from shardkit.format.record import Placed, Record
from shardkit.indexing.gathering import TEXTS, gather, part_batch
from shardkit.indexing.sample_texts import SampleTexts, TextRules
from shardkit.isolation.pool import IsolatedWorkers

WAITING_WORKER = """
import time
from pathlib import Path
from shardkit.isolation.serving import serve

def answering(settings):
    def answer(request):
        while not Path(request["path"]).exists():
            time.sleep(0.01)
        return {}
    return answer

serve(answering)
"""
"""A worker that answers once the file is there that it is asked about."""


@pytest.fixture
def waiting_worker(tmp_path, monkeypatch):
    """The name of its module."""
    (tmp_path / "waiting_worker.py").write_text(WAITING_WORKER)
    monkeypatch.syspath_prepend(tmp_path)
    return "waiting_worker"


def test_few_samples_are_read_ahead_where_they_are_large(waiting_worker, tmp_path):
    """32 MB a worker are under way, and what goes beyond: of samples of 20 MB two, whatever the look-ahead."""
    taken = []

    def requests():
        for number in range(6):
            taken.append(number)
            yield number, {"path": str(tmp_path), "video": bytes(20_000_000)}

    with IsolatedWorkers(waiting_worker, {}, workers=1, clip_timeout_s=30.0, look_ahead=4) as pool:
        answers = pool.map(requests())
        assert taken == [0, 1]
        assert [number for number, _ in answers] == list(range(6))


def test_workers_go_on_while_the_first_sample_is_waited_for(waiting_worker, tmp_path):
    """What is answered behind it is held no more and makes room: here it is answered once the last one is taken."""
    last = tmp_path / "last"
    held_bytes = []

    def requests():
        yield 0, {"path": str(last), "video": bytes(30_000_000)}
        for number in range(1, 8):
            if number == 7:
                held_bytes.append(tracemalloc.get_traced_memory()[0])
                last.touch()
            yield number, {"path": str(tmp_path), "video": bytes(30_000_000)}

    with IsolatedWorkers(waiting_worker, {}, workers=2, clip_timeout_s=60.0, look_ahead=4) as pool:
        tracemalloc.start()
        try:
            assert list(pool.map(requests())) == [(number, {}) for number in range(8)]
        finally:
            tracemalloc.stop()
    # The first, and the two around the last; all seven would be 210 MB.
    assert held_bytes[0] < 150_000_000


def test_a_sample_larger_than_all_that_waits_passes(waiting_worker, tmp_path):
    """It is under way alone."""
    request = {"path": str(tmp_path), "video": bytes(40_000_000)}
    with IsolatedWorkers(waiting_worker, {}, workers=1, clip_timeout_s=30.0, look_ahead=4) as pool:
        assert list(pool.map([(0, request), (1, request)])) == [(0, {}), (1, {})]


def test_many_small_members_are_a_large_sample_too(tmp_path, monkeypatch):
    """Pictures that are too large together are rejected by that, the samples around them indexed."""
    for module in (shardkit.indexing.samples, shardkit.indexing.run):
        monkeypatch.setattr(module, "MOST_SAMPLE_BYTES", 10_000)
    members = [
        ("a.jpg", jpeg(1)),
        *((f"b.{place}.jpg", jpeg(2) + bytes(2_000)) for place in range(9)),
        ("c.jpg", jpeg(3)),
    ]
    shardkit.index(
        write_tar(tmp_path / "a.tar", members),
        out=tmp_path / "out",
        require="video",
        audio_rate=FAST["audio_rate"],
        workers=1,
    )
    assert shardkit.open(tmp_path / "out").keys == ["a", "c"]
    ((key, reason),) = [(each["id"], each["reason"]) for each in rejects(tmp_path / "out")]
    assert (key, reason) == ("b", "too_long")


def part(shard: int, *, clips: int) -> Receipt:
    """What is known of a shard whose samples say a few things."""

    def placed(place: int) -> Placed:
        said = {"number": place, "title": f"clip {place} of shard {shard}", "score": place / 7, "license": "CC-BY-4.0"}
        texts = SampleTexts({"cls": str(place % 9), "tags": ["a", "b"][: place % 3]}, said, None)
        key = f"{shard}-{place}"
        record = Record(key, place + 1, key, key, 0.0, 1.0, "", None, None, columns={TEXTS: texts.to_text()})
        return Placed(record, shard, None, None, None)

    batch = part_batch([placed(place) for place in range(clips)])
    return Receipt(ShardInfo(f"{shard}.tar", clips, 1, ""), batch, ())


def test_what_samples_say_is_not_held_as_python_objects():
    """Of all shards at once it would be kilobytes a clip, and indexes of ten million clips are meant to be written."""
    parts = [part(shard, clips=200) for shard in range(25)]
    tracemalloc.start()
    found = gather(parts, TextRules({"tags": "json.tags"}))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.batch.num_rows == 5000
    assert peak_bytes / 5000 < 500
