"""What each part of loading costs by itself. `make bench-parts` times them; the test suite runs each of them once.

Times of a part are times of this machine at that hour: compare the parts of one run with each other.
"""

import statistics

import numpy as np
import pytest

import shardkit
from shardkit.format.digest import file_digest
from shardkit.format.index import decode_index
from shardkit.loading.filler import SlotFiller
from shardkit.loading.plan import BatchLayout, slot_of
from shardkit.loading.shapes import clip_plan
from shardkit.media.jpeg import decode_jpeg_into
from shardkit.planning.order import EpochOrder
from shardkit.planning.views import ViewRules
from shardkit.storage.files import map_file

BATCH_SIZE = 16


def test_index_opened(benchmark, usual):
    """An index checked and mapped."""
    path = usual.folder.path / "index.arrow"
    digest = file_digest(path.read_bytes())
    index = benchmark(lambda: decode_index(map_file(path), path=str(path), digest=digest))
    assert len(index) == len(usual)


@pytest.mark.parametrize("clips", [30_000, 1_000_000])
def test_order_of_an_epoch(benchmark, clips):
    """An epoch's order set up, and its first batch taken."""
    shard_of = np.arange(clips) // 1000
    positions = np.arange(BATCH_SIZE)
    order = benchmark(lambda: EpochOrder(shard_of, seed=1, epoch=2, shuffle=True).take(positions))
    assert len(set(order.tolist())) == BATCH_SIZE


def test_read_a_clip(benchmark, usual):
    """A clip's packets and samples out of the page cache."""
    index = usual.index
    ranges = [
        (int(index.video_offset[0]) + int(offset), int(size))
        for offset, size in zip(index.packet_offset.row(0), index.packet_bytes.row(0), strict=True)
    ]
    ranges.append((int(index.audio_offset[0]), int(index.audio_bytes[0])))
    with usual.reader() as reader:
        read = benchmark(lambda: reader.read(int(index.shard[0]), ranges))
    assert [len(data) for data in read] == [size for _, size in ranges]


def test_decode_a_frame(benchmark, usual):
    """A JPEG of 224 x 224."""
    index = usual.index
    place = (int(index.video_offset[0]) + int(index.packet_offset.row(0)[0]), int(index.packet_bytes.row(0)[0]))
    out = np.empty((224, 224, 3), dtype=np.uint8)
    with usual.reader() as reader:
        (packet,) = reader.read(int(index.shard[0]), [place])
        benchmark(lambda: decode_jpeg_into(packet, out))
    assert out.std() > 0


def _fill_all(benchmark, dataset) -> SlotFiller:
    rules = ViewRules(seed=1)
    plan = clip_plan(
        dataset.folder, dataset.manifest, dataset.index, dataset.rows, modalities=("video", "audio"), rules=rules
    )
    layout = BatchLayout.of(plan, 1)
    views = layout.views(np.zeros(layout.size_bytes, dtype=np.uint8))
    slot = slot_of(views, 0)
    with dataset.reader() as reader:
        filler = SlotFiller(dataset.index, reader, plan)

        def fill() -> None:
            for row in range(len(dataset)):
                clip = filler.plan(row=row, position=row, epoch=0)
                filler.place(clip, slot)
                filler.fill(clip, filler.read(clip))

        benchmark(fill)
    return filler


def test_fill_slots(benchmark, usual):
    """All clips read, checked and decoded, without a loader around it."""
    assert _fill_all(benchmark, usual).tally.clips >= len(usual)


def test_fill_slots_without_decoding(benchmark, free):
    """The same where there is nothing to decode: what planning, reading and checking cost by themselves."""
    assert _fill_all(benchmark, free).tally.clips >= len(free)


def test_ring_of_one_worker(benchmark, free):
    """Clips that cost nothing to decode, through one worker process and the ring: the limit of the engine itself."""
    steps, rounds = (1, 1) if benchmark.disabled else (200, 9)
    clips = steps * BATCH_SIZE * 4
    with shardkit.loader(free, batch_size=BATCH_SIZE * 4, workers=1, epochs=1_000_000) as loader:
        batches = iter(loader)
        next(batches)

        def take() -> None:
            for _ in range(steps):
                next(batches)

        benchmark.pedantic(take, rounds=rounds, iterations=1)
        stats = loader.stats()
    if not benchmark.disabled:
        rates = [clips / seconds for seconds in benchmark.stats.stats.data]
        benchmark.extra_info["clips_per_s"] = {"median": statistics.median(rates), "runs": rates}
        benchmark.extra_info["stages_s"] = stats.stages_s()
    assert stats.clips == clips * rounds + BATCH_SIZE * 4
