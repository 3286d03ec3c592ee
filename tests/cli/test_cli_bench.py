"""`shardkit bench`: figures for people, for machines and as a picture; and what it says to bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image
from watching import children, is_running, wait_until

import shardkit
from shardkit.cli import main
from shardkit.cli.bench import Bench, show_bench
from shardkit.loading.loader import _default_workers as default_workers
from shardkit.loading.measure import measure

FAILED, USAGE, INTERRUPTED = 1, 2, 130
PNG = b"\x89PNG\r\n"
WHOLE = ("--batch-size", "5")
"""All clips there are, without padding."""
QUICK = (*WHOLE, "--seconds", "0.1", "--workers", "1", "--worker-type", "thread")
STAGES = ("read", "check", "decode", "audio", "other", "wait")


@pytest.fixture(scope="module")
def benched(packed, tmp_path_factory):
    """What one bench with two numbers of workers said and wrote: its ending, its JSON, its picture."""
    folder = tmp_path_factory.mktemp("bench")
    said = run(
        *("bench", packed[0], "--workers", "1,2", "--seconds", "0.3", "--batch-size", "5", "--size", "48"),
        *("--frames", "2", "--frame-choice", "random", "--json", folder / "bench.json", "--plot", folder / "bench.png"),
    )
    assert said.returncode == 0, said.stderr
    return said, json.loads((folder / "bench.json").read_text()), folder / "bench.png"


def _in_process(monkeypatch, capsys, *command):
    monkeypatch.setattr("sys.argv", ["shardkit", *map(str, command)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    return subprocess.CompletedProcess(command, ended.value.code, printed.out, printed.err)


def test_people_see_a_column_for_each_number_of_workers(packed, benched):
    """The table has rates, stages, memory; below it is a verdict on each, and the figures are those of the JSON."""
    out, _ = packed
    said, figures, _ = benched
    assert f"{out.name}: 5 clips" in said.stdout
    assert "video uint8 [5, 2, 3, 48, 48], audio float32 [5, 1, 160000]" in said.stdout
    rows = {}
    for line in said.stdout.splitlines():
        name, *cells = (cell.strip() for cell in line.strip("│┃ ").replace("┃", "│").split("│"))
        rows[name] = cells
    assert rows["1 worker"] == ["2 workers"]
    one, two = figures["results"]
    assert rows["clips/s"] == [f"{result['clips_per_s']:,.1f}" for result in (one, two)]
    assert rows["decode frames"] == [f"{1000 * result['stages_s_per_clip']['decode']:.2f}" for result in (one, two)]
    assert rows["CPU time a clip, ms"] == [f"{1000 * result['cpu_s_per_clip']:.2f}" for result in (one, two)]
    assert rows["first batch after, s"] == [f"{result['first_batch_s']:.2f}" for result in (one, two)]
    for name in ("read", "check", "decode audio", "other", "wait", "workers busy", "loop waited", "ring filled"):
        assert len(rows[name]) == 2
    for name in ("memory: ring", "memory: each worker, at most", "memory: training process"):
        assert all(cell.endswith(" MB") for cell in rows[name])
    assert f"1 worker: {one['verdict']}" in said.stdout
    assert f"2 workers: {two['verdict']}" in said.stdout
    assert said.stderr.splitlines() == ["measuring 0.3 s with 1 worker", "measuring 0.3 s with 2 workers"]


def test_json_has_all_that_the_figures_depend_on(packed, benched):
    """Options, machine, versions and cache stand beside the results, whose figures fit each other."""
    _, figures, _ = benched
    assert figures["path"] == str(packed[0])
    assert figures["clips"] == 5
    assert figures["options"]["frames"] == 2
    assert figures["options"]["frame_choice"] == "random"
    assert figures["interrupted"] is False
    assert figures["cache"] == "warm after the first pass"
    assert figures["machine"]["cores"] >= figures["machine"]["usable_cores"] > 0
    assert figures["machine"]["processor"]
    assert {"shardkit", "python", "torch", "numpy", "simplejpeg"} <= figures["versions"].keys()
    assert [result["workers"] for result in figures["results"]] == [1, 2]
    for result in figures["results"]:
        assert result["seconds"] >= 0.3
        assert result["clips"] == 5 * result["batches"]
        assert result["clips_per_s"] == pytest.approx(result["clips"] / result["seconds"])
        assert result["stages_s_per_clip"].keys() == set(STAGES)
        assert len(result["worker_private_bytes"]) == result["workers"]
        assert result["passes_before"] >= 1


def test_cores_are_those_that_this_process_may_run_on():
    """One that is confined to a core says 1, however many the machine has."""
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from shardkit.cli.machine import machine; print(machine()['cores'])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "1\n"


def test_plot_shows_measured_and_ideal_rates(benched):
    """A picture of the size of a page's width, with a solid blue and a dashed grey line."""
    _, _, picture = benched
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    assert pixels.shape == (648, 1008, 3)
    for colour in ((31, 119, 180), (153, 153, 153)):
        assert (np.abs(pixels - colour).max(axis=2) < 8).sum() > 300


def test_json_on_standard_output_is_all_that_is_printed(packed, monkeypatch, capsys):
    """`--json -`: one object and nothing else; workers are as many as a loader has by itself."""
    options = (*WHOLE, "--worker-type", "thread", "--seconds", "0.2", "--consumer-ms", "5", "--json", "-")
    said = _in_process(monkeypatch, capsys, "bench", packed[0], *options)
    assert said.stderr == ""
    figures = json.loads(said.stdout)
    (result,) = figures["results"]
    assert result["workers"] == default_workers()
    assert figures["consumer_ms"] == 5
    assert result["consumer_cpu_s"] >= 0.005 * result["batches"]


def test_only_sound_is_loaded_where_only_sound_is_asked_for(packed, monkeypatch, capsys):
    """`--modalities audio` reads no frames, `--window` no more seconds than it says."""
    options = ("--modalities", "audio", "--window", "1.5", "--split", "", "--worker-type", "thread", "--json", "-")
    said = _in_process(monkeypatch, capsys, "bench", packed[0], *options, *WHOLE, "--workers", "2", "--seconds", "0.1")
    (result,) = json.loads(said.stdout)["results"]
    assert result["tensors"] == {"audio": "float32 [5, 1, 24000]"}
    assert result["stages_s_per_clip"]["decode"] < result["stages_s_per_clip"]["audio"]


def test_what_is_not_known_or_went_wrong_is_said(packed, capsys):
    """A page cache that may have been cold, and workers that were replaced, are lines below the table."""
    measured = measure(
        lambda: shardkit.loader(packed[0], batch_size=1, worker_type="thread", workers=1, epochs=1 << 40),
        seconds=0.1,
        warm_up_s=0.0,
    )
    odd = replace(measured, passes_before=0.4, stats=replace(measured.stats, replaced_workers=3))
    bench = Bench(str(packed[0]), "shards", 5, {"split": "train"}, 0.1, 12.0, {}, (measured, odd))
    assert bench.to_json()["cache"] == "unknown"
    show_bench(bench)
    said = capsys.readouterr().out
    assert said.startswith("shards, split 'train': 5 clips\n")
    assert "beside 12 ms of Python a batch" in said
    assert "3 workers died or hung meanwhile and were replaced" in said
    assert "page cache: unknown; not all 5 clips had been loaded when measuring began" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--workers", "1,x"), ("--workers 1,x", "1,2,4")),
        (("--workers", "0"), ("--workers 0", "at least 1")),
        (("--workers", ""), ("--workers", "at least 1")),
        (("--seconds", "0"), ("--seconds 0", "above 0")),
        (("--seconds", "inf"), ("--seconds inf", "above 0")),
        (("--consumer-ms", "-1"), ("--consumer-ms -1", "at least 0")),
        (("--consumer-ms", "nan"), ("--consumer-ms nan", "at least 0")),
        (("--batch-size", "0"), ("batch_size=0", "at least 1")),
        (("--frames", "0"), ("frames=0", "at least 1")),
        (("--frame-choice", "random"), ("frame_choice='random'", "frames")),
        (("--size", "999"), ("size=(999, 999)", "smaller")),
        (("--crop", "left"), ("--crop", "left")),
        (("--window", "0"), ("window_s=0", "above 0")),
        (("--modalities", "smell"), ("smell", "video", "audio")),
        (("--split", "nowhere"), ("nowhere", "the data set has")),
        (("--json", "nowhere/bench.json"), ("--json nowhere/bench.json", "no folder nowhere")),
        (("--json", "."), ("--json .", "name a file")),
        (("--plot", "bench.docx"), ("--plot bench.docx", ".png")),
        (("--plot", "https://example.org/bench.png"), ("https://example.org/bench.png", "a path on this machine")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_option_is_named_with_what_is_right(packed, monkeypatch, capsys, options, words):
    """Exit code 2 before anything is measured; the message has the option's value and what would do."""
    said = _in_process(monkeypatch, capsys, "bench", packed[0], *options)
    assert said.returncode == USAGE
    assert said.stderr.startswith(("error: ", "Usage: "))
    for word in words:
        assert word in said.stderr
    assert said.stdout == ""
    assert "measuring" not in said.stderr


def test_plot_without_matplotlib_says_how_to_get_it(packed, monkeypatch, capsys, tmp_path):
    """The extra's name is in the message, which comes before minutes of measuring."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said = _in_process(monkeypatch, capsys, "bench", packed[0], "--plot", tmp_path / "bench.png")
    assert said.returncode == USAGE
    assert said.stderr.startswith("error: --plot needs matplotlib ")
    assert "pip install 'shardkit[plot]'" in said.stderr


def test_outputs_go_through_links_and_into_pipes(packed, tmp_path, monkeypatch, capsys):
    """A link stays and its target is replaced; a pipe stays and its reader gets all, of a picture a PNG."""
    link, target, pipe = tmp_path / "link.json", tmp_path / "real.json", tmp_path / "pipe"
    target.write_text("old")
    link.symlink_to(target)
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    said = _in_process(monkeypatch, capsys, "bench", packed[0], *QUICK, "--json", link, "--plot", pipe)
    assert said.returncode == 0, said.stderr
    reader.join(timeout=30)
    assert read[0].startswith(PNG)
    assert link.is_symlink()
    assert json.loads(target.read_text())["clips"] == 5
    assert {path.name for path in tmp_path.iterdir()} == {"link.json", "real.json", "pipe"}
    assert pipe.is_fifo()


def test_link_into_a_folder_that_is_not_there_is_refused_before_measuring(packed, tmp_path, monkeypatch, capsys):
    """The message names the folder."""
    (tmp_path / "link.json").symlink_to(tmp_path / "missing" / "real.json")
    said = _in_process(monkeypatch, capsys, "bench", packed[0], "--json", tmp_path / "link.json")
    assert said.returncode == USAGE
    assert f"there is no folder {tmp_path / 'missing'}" in said.stderr
    assert "measuring" not in said.stderr


def _on_a_full_disk(path):
    """The path, for whose writing there is no room."""
    path.with_name(path.name + ".tmp").symlink_to("/dev/full")
    return path


@pytest.mark.parametrize("full", ["bench.json", "bench.png"])
def test_file_that_cannot_be_written_costs_no_figures(packed, tmp_path, monkeypatch, capsys, full):
    """A full disk after measuring: the table is printed, the other file is written, then comes the error."""
    path = _on_a_full_disk(tmp_path / full)
    outputs = ("--json", tmp_path / "bench.json", "--plot", tmp_path / "bench.png")
    said = _in_process(monkeypatch, capsys, "bench", packed[0], *QUICK, *outputs)
    assert said.returncode == FAILED
    assert "1 worker: " in said.stdout
    *_, last = said.stderr.splitlines()
    assert last == f"error: {path}: No space left on device; make room on that disk"
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "bench.png"} - {full}


def test_file_that_cannot_be_written_costs_no_json(packed, tmp_path, monkeypatch, capsys):
    """`--json -` prints its object, whatever becomes of the picture."""
    path = _on_a_full_disk(tmp_path / "bench.png")
    said = _in_process(monkeypatch, capsys, "bench", packed[0], *QUICK, "--json", "-", "--plot", path)
    assert said.returncode == FAILED
    assert json.loads(said.stdout)["clips"] == 5
    assert said.stderr == f"error: {path}: No space left on device; make room on that disk\n"


def test_two_files_that_cannot_be_written_are_both_named(packed, tmp_path, monkeypatch, capsys):
    """One error line has both."""
    paths = [_on_a_full_disk(tmp_path / name) for name in ("bench.json", "bench.png")]
    said = _in_process(monkeypatch, capsys, "bench", packed[0], *QUICK, "--json", paths[0], "--plot", paths[1])
    assert said.returncode == FAILED
    assert all(f"{path}: No space left" in said.stderr.splitlines()[-1] for path in paths)


def test_reader_that_leaves_costs_no_files(packed, tmp_path):
    """`shardkit bench … | head`: what cannot be printed is written all the same."""
    report = tmp_path / "bench.json"
    command = [sys.executable, "-m", "shardkit", "bench", packed[0], *QUICK, "--json", report]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) == FAILED
    assert json.loads(report.read_text())["clips"] == 5


def test_warning_is_one_line(packed):
    """Batches larger than the data set: said once, before the figures, without a place in the code."""
    said = run("bench", packed[0], *QUICK, "--workers", "1,2", "--batch-size", "16")
    assert said.returncode == 0, said.stderr
    measuring, *warned, again = said.stderr.splitlines()
    assert (measuring, again) == ("measuring 0.1 s with 1 worker", "measuring 0.1 s with 2 workers")
    assert len(warned) == 1
    assert warned[0].startswith("warning: batch_size=16 is more than the 5 clips")


def test_path_without_a_data_set_is_named(tmp_path, monkeypatch, capsys):
    """A folder that holds none, and one that is not there."""
    for path, word in ((tmp_path, "no data"), (tmp_path / "no", "check the path")):
        said = _in_process(monkeypatch, capsys, "bench", path)
        assert said.returncode == FAILED
        assert said.stderr.startswith(f"error: {path}")
        assert word in said.stderr


def test_damaged_clip_is_named(packed, tmp_path, monkeypatch, capsys):
    """Figures of damaged shards are none: exit code 1, with the shard and the remedy."""
    damaged = Path(shutil.copytree(packed[0], tmp_path / "damaged"))
    shard = max(damaged.glob("*.tar"), key=lambda path: path.stat().st_size)
    os.truncate(shard, shard.stat().st_size // 2)
    options = (*WHOLE, "--seconds", "0.1", "--workers", "1", "--json", tmp_path / "bench.json")
    said = _in_process(monkeypatch, capsys, "bench", damaged, *options)
    assert said.returncode == FAILED
    assert "Traceback" not in said.stderr
    assert shard.name in said.stderr
    assert "copy it again" in said.stderr
    assert not (tmp_path / "bench.json").exists()


def test_interrupt_ends_it_and_its_workers(packed, tmp_path):
    """Ctrl-C: exit code 130, no traceback, no process and no file left."""
    report = tmp_path / "bench.json"
    command = ["bench", packed[0], *WHOLE, "--workers", "2", "--seconds", "60", "--json", report]
    process = subprocess.Popen(
        [sys.executable, "-m", "shardkit", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline() == "measuring 60 s with 2 workers\n"
    wait_until(lambda: len(children(process.pid)) == 2)
    workers = children(process.pid)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=100)
    assert process.returncode == INTERRUPTED, said
    assert "Traceback" not in said
    assert out == ""
    assert said == "interrupted: 0 of 1 numbers of workers measured\n"
    wait_until(lambda: not any(map(is_running, workers)))
    assert list(tmp_path.iterdir()) == []


def test_interrupt_keeps_what_is_measured(packed, tmp_path):
    """Ctrl-C in the second measurement: the first is printed, written and drawn; exit code 130."""
    report, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    command = (
        "bench",
        packed[0],
        *WHOLE,
        "--workers",
        "1,2,3",
        "--seconds",
        "5",
        "--json",
        report,
        "--plot",
        picture,
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "shardkit", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert [process.stderr.readline() for _ in range(2)] == [
        "measuring 5 s with 1 worker\n",
        "measuring 5 s with 2 workers\n",
    ]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, said = process.communicate(timeout=100)
    assert process.returncode == INTERRUPTED, said
    assert said == "interrupted: 1 of 3 numbers of workers measured\n"
    assert "1 worker: " in out
    assert "2 workers" not in out
    figures = json.loads(report.read_text())
    assert figures["interrupted"] is True
    assert [result["workers"] for result in figures["results"]] == [1]
    assert picture.read_bytes().startswith(PNG)


def test_help_is_cheap():
    """`shardkit bench --help` loads neither torch nor matplotlib."""
    code = (
        "import contextlib, sys\n"
        "from shardkit.cli import main\n"
        "sys.argv = ['shardkit', 'bench', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "sys.stderr.write(' '.join({'torch', 'matplotlib', 'numpy'} & set(sys.modules)))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--consumer-ms" in said.stdout
    assert said.stderr == ""
