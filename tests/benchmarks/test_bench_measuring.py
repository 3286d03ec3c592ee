"""What is measured: clips between two batches, CPU time of the whole process tree, in a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from benchmarks.loaders.__main__ import main
from benchmarks.loaders.cases import all_cases
from benchmarks.loaders.contestants import contestant
from benchmarks.loaders.contestants.contract import Delivered
from benchmarks.loaders.measure import measured_stream
from benchmarks.loaders.measurement import Timing
from benchmarks.loaders.prepare import BenchFolder
from benchmarks.loaders.process_tree import cpu_s
from benchmarks.loaders.scale import TINY

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n{then}"


def batches(*, pause_s: float = 0.0) -> Iterator[Delivered]:
    """An endless stream that takes its time for each batch."""
    shape = (TINY.batch_size, TINY.frames, 3, TINY.side, TINY.side)
    video, audio = torch.zeros(shape, dtype=torch.uint8), torch.zeros(TINY.batch_size, 1, TINY.audio_samples)
    while True:
        time.sleep(pause_s)
        yield Delivered(video, audio, torch.zeros(TINY.batch_size), ["key"] * TINY.batch_size)


def test_a_rate_is_clips_between_two_batches():
    """A stream that yields a batch every 20 ms has that rate, whatever the warm-up."""
    found = measured_stream(batches(pause_s=0.02), TINY, Timing(warm_up_s=0.1, measured_s=0.4, measured_batches=3))
    assert found.clips % TINY.batch_size == 0
    assert found.elapsed_s >= 0.4
    assert 0 < found.clips_per_s <= TINY.batch_size / 0.02


def test_slow_streams_are_measured_over_enough_batches():
    """The number of batches asked for is reached, also where the time is up before."""
    found = measured_stream(batches(pause_s=0.02), TINY, Timing(warm_up_s=0, measured_s=0.01, measured_batches=5))
    assert found.clips == 5 * TINY.batch_size


def test_the_consumer_burns_cpu_time_on_every_batch():
    """What is burnt is CPU time, counted, and no cost of the loader."""
    timing = Timing(warm_up_s=0, measured_s=0, measured_batches=10, burn_ms=20)
    found = measured_stream(batches(), TINY, timing)
    assert 0.2 <= found.burnt_s < 0.25
    # Clock ticks are 10 ms.
    assert found.cpu_s_per_clip * found.clips < 0.1


def test_other_shapes_are_refused():
    """A contestant that delivers less than all is not measured."""
    batch = next(batches())
    short = Delivered(batch.video[:, 1:], batch.audio, batch.labels, batch.keys)
    with pytest.raises(AssertionError):
        measured_stream(iter([short]), TINY, Timing(0, 0, 1))


def test_cpu_time_is_that_of_the_whole_tree():
    """Children count while they run, grandchildren that ended as their parent's."""
    grandchild = BURN.format(seconds=0.3, then="")
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {grandchild!r}])\n"
    child += BURN.format(seconds=0.3, then="print('done', flush=True)\ninput()")
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        spent_s = cpu_s(process.pid)
        process.stdin.close()
    assert 0.55 < spent_s < 1.5


def test_the_command_measures_prints_and_stores(
    bench_folder: BenchFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """From packed sets to ratios in one short round: every figure is in the JSON, with machine, versions, set-ups."""
    out = tmp_path / "figures.json"
    cases = ["--cases", "shardkit-turbo@square", "bare-turbo@square"]
    arguments = ["--tiny", "--data", str(bench_folder.root), "--json", str(out), *cases]
    setups = tmp_path / "setups.json"
    known = {"workers": 2, "mode": ""}
    names = ("shardkit-turbo@square", "bare-turbo@square")
    setups.write_text(json.dumps({"setups": dict.fromkeys(names, known), "tried_clips_per_s": {}}))
    assert main([*arguments, "--setups", str(setups)]) == 0
    figures = json.loads(out.read_text())
    assert [set(found) for found in figures["rounds"]] == [set(names)]
    assert all(found["clips_per_s"] > 0 for measured in figures["rounds"] for found in measured.values())
    (ratio,) = figures["ratios"]
    assert ratio["against"] == "bare-turbo@square"
    first = figures["rounds"][0]
    assert ratio["per_round"][0] == pytest.approx(
        first["shardkit-turbo@square"]["clips_per_s"] / first["bare-turbo@square"]["clips_per_s"]
    )
    # What `shardkit bench` says of the machine, and the peers' versions besides.
    assert figures["machine"]["cores"] >= figures["machine"]["usable_cores"] > 0
    assert {"shardkit", "python", "torch", "webdataset", "litdata"} <= figures["versions"].keys()
    assert figures["setups"]["bare-turbo@square"] == known
    assert "| as shipped ÷ bare libjpeg-turbo on all cores | 0.85 |" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_contestant_shape_and_consumer_is_measured(bench_folder: BenchFolder, tmp_path: Path):
    """Each in one case at least, from its copy of the clips to its rate."""
    for package in ("webdataset", "litdata", "spdl", "megatron.energon"):
        pytest.importorskip(package)
    by_part = {part: case for case in all_cases() for part in (case.contestant, case.stored, case.burn_ms)}
    cases = {case.name: contestant(case.contestant).setups(1)[0] for case in by_part.values()}
    setups, out = tmp_path / "setups.json", tmp_path / "figures.json"
    setups.write_text(
        json.dumps({"setups": {name: asdict(setup) for name, setup in cases.items()}, "tried_clips_per_s": {}})
    )
    folder = str(bench_folder.root)
    assert main(["--tiny", "--data", folder, "--setups", str(setups), "--json", str(out), "--cases", *cases]) == 0
    (measured,) = json.loads(out.read_text())["rounds"]
    assert measured.keys() == cases.keys()
    assert all(found["clips"] > 0 for found in measured.values())
