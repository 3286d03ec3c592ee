"""Training scripts as users run them: no guard, Ctrl-C, kill -9, forks."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from watching import is_running, wait_until

LOOP = """
    import os, sys, time
    import shardkit

    loader = shardkit.loader(sys.argv[1], batch_size=4, workers=2, epochs=10_000)
    for step, batch in enumerate(loader):
        if step == 2:
            print(*loader._engine._crew.pids().values(), flush=True)
"""


def _script(tmp_path, text):
    path = tmp_path / "train.py"
    path.write_text(textwrap.dedent(text))
    return path


def _start(tmp_path, text, *arguments):
    return subprocess.Popen(
        [sys.executable, str(_script(tmp_path, text)), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_script_needs_no_main_guard(packed, tmp_path):
    """A script whose loop stands at top level runs once: workers do not import it again."""
    script = """
        import sys
        import shardkit

        print("begun")
        with shardkit.loader(sys.argv[1], batch_size=4, workers=2) as loader:
            print(sum(int(batch.weight.sum()) for batch in loader))
    """
    with _start(tmp_path, script, packed) as process:
        out, err = process.communicate(timeout=150)
    assert (process.returncode, out.split(), err) == (0, ["begun", "24"], "")


def test_a_script_that_never_closes_ends_cleanly(packed, tmp_path):
    """A script that ends in the middle of an epoch, with batches held and no close(), exits with 0 and says nothing."""
    script = """
        import sys
        import shardkit

        iterator = iter(shardkit.loader(sys.argv[1], batch_size=4, workers=2))
        held = [next(iterator), next(iterator)]
    """
    with _start(tmp_path, script, packed) as process:
        out, err = process.communicate(timeout=150)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_module_of_the_scripts_folder_does_not_shadow_a_package(packed, tmp_path):
    """A `json.py` beside the user's script is the user's: the workers take the standard library's."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "select.py").write_text("raise RuntimeError('imported')")
    script = """
        import os, sys
        import shardkit

        os.chdir(sys.argv[2])
        with shardkit.loader(sys.argv[1], batch_size=24, workers=1) as loader:
            print(sum(int(batch.weight.sum()) for batch in loader))
    """
    with _start(tmp_path, script, packed, tmp_path / "sub") as process:
        out, err = process.communicate(timeout=150)
    assert (out.strip(), err) == ("24", "")


def test_ctrl_c_leaves_no_process(packed, tmp_path):
    """SIGINT to the script: a KeyboardInterrupt, nothing from the workers, and no process is left."""
    with _start(tmp_path, LOOP, packed) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=150)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("Traceback") == 1
    wait_until(lambda: not any(map(is_running, pids)))


@pytest.mark.parametrize("busy", [True, False])
def test_workers_of_a_killed_trainer_end_on_their_own(packed, tmp_path, busy):
    """Kill -9 of the script, in its loop or in a long training step: its workers end within seconds, in silence."""
    text = LOOP if busy else LOOP + "            time.sleep(60)\n"
    with _start(tmp_path, text, packed) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        time.sleep(0.2)
        process.kill()
        _, err = process.communicate(timeout=150)
    wait_until(lambda: not any(map(is_running, pids)))
    assert err == ""


@pytest.mark.parametrize(
    "in_the_child",
    [
        "sys.exit(0)",
        "del iterator; gc.collect(); os._exit(0)",
        "iterator.close(); os._exit(0)",
        "loader.close(); os._exit(0)",
        """
            try:
                next(iterator)
            except shardkit.UsageError as exc:
                print("refused", "fork" in str(exc), flush=True)
            os._exit(0)
        """,
    ],
)
def test_a_fork_that_drops_or_continues_an_iteration_leaves_the_parents_alone(packed, tmp_path, in_the_child):
    """However a forked child ends its copy of a running loop, the parent's goes on to its end, with every clip."""
    script = f"""
        import gc, os, sys, warnings
        import shardkit

        warnings.simplefilter("ignore")
        loader = shardkit.loader(sys.argv[1], batch_size=4, workers=2)
        iterator = iter(loader)
        keys = [*next(iterator).keys]
        if os.fork() == 0:
            {textwrap.dedent(in_the_child).strip().replace(chr(10), chr(10) + " " * 12)}
        os.wait()
        for batch in iterator:
            keys += batch.keys
        print("parent", len(set(keys)))
    """
    with _start(tmp_path, script, packed) as process:
        out, err = process.communicate(timeout=150)
    assert (out.splitlines()[-1], err) == ("parent 24", "")
    assert "refused False" not in out


def test_a_fork_of_the_trainer_leaves_its_workers_alone(packed, tmp_path):
    """A forked child that drops, or iterates over, its copy of the loader disturbs nothing in the parent."""
    script = """
        import gc, os, sys, warnings
        import shardkit

        warnings.simplefilter("ignore")
        loader = shardkit.loader(sys.argv[1], batch_size=4, workers=2)
        iterator = iter(loader)
        count = int(next(iterator).weight.sum())
        if os.fork() == 0:
            print("child", sum(int(batch.weight.sum()) for batch in loader), flush=True)
            del loader, iterator
            gc.collect()
            sys.exit(0)
        os.wait()
        count += sum(int(batch.weight.sum()) for batch in iterator)
        print("parent", count)
    """
    with _start(tmp_path, script, packed) as process:
        out, err = process.communicate(timeout=150)
    assert (out.split(), err) == (["child", "24", "parent", "24"], "")


def test_workers_end_with_their_trainer_whatever_forks_it_leaves(packed, tmp_path):
    """A trainer that is killed while a fork of it lives on: the fork keeps no worker alive."""
    script = """
        import os, signal, sys, time
        import shardkit

        loader = shardkit.loader(sys.argv[1], batch_size=4, workers=2, epochs=10_000)
        iterator = iter(loader)
        next(iterator)
        child = os.fork()
        if child == 0:
            time.sleep(600)
        print(child, *loader._engine._crew.pids().values(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with _start(tmp_path, script, packed) as process:
        child, *workers = map(int, process.stdout.readline().split())
        try:
            process.wait(timeout=150)
            wait_until(lambda: not any(map(is_running, workers)))
            assert is_running(child)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_a_fork_keeps_none_of_the_loaders_descriptors(packed, tmp_path, worker_type):
    """Pipes and process handles are closed in a forked child; the memory, while it is mapped, has a file of its own."""
    script = """
        import os, sys
        import shardkit

        def kinds():
            links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
            return [os.readlink(link) for link in links if os.path.lexists(link)]

        before = kinds()
        loader = shardkit.loader(sys.argv[1], batch_size=4, workers=1, worker_type=sys.argv[2])
        batches = iter(loader)
        next(batches)
        if os.fork() == 0:
            new = [kind for kind in kinds() if kind not in before]
            print([kind for kind in new if kind.startswith(("/memfd:shardkit-start", "anon", "pipe:"))], flush=True)
            os._exit(0)
        os.wait()
    """
    with _start(tmp_path, script, packed, worker_type) as process:
        out, err = process.communicate(timeout=150)
    assert (out, err) == ("[]\n", "")


def test_batches_of_threads_stay_as_they_were_in_a_fork(packed, tmp_path):
    """What a forked child holds does not change when the parent's threads fill the buffer anew."""
    script = """
        import os, sys
        import shardkit

        loader = shardkit.loader(sys.argv[1], batch_size=4, workers=1, worker_type="thread", epochs=100)
        batches = iter(loader)
        batch = next(batches)
        before = int(batch.video.numpy().sum())
        ours, theirs = os.pipe()
        if os.fork() == 0:
            os.close(theirs)
            os.read(ours, 1)
            print(int(batch.video.numpy().sum()) == before, flush=True)
            os._exit(0)
        del batch
        for _ in range(20):
            next(batches)
        os.close(theirs)
        os.wait()
    """
    with _start(tmp_path, script, packed) as process:
        out, err = process.communicate(timeout=150)
    assert (out, err) == ("True\n", "")


def test_a_fork_of_a_fork_keeps_its_files(packed, tmp_path):
    """What a forked child opens, under numbers that the loader's pipes had in its parent, is open in its own child."""
    script = """
        import os, sys
        import shardkit

        loader = shardkit.loader(sys.argv[1], batch_size=4, workers=1, worker_type="thread")
        batches = iter(loader)
        next(batches)
        if os.fork() == 0:
            opened = [os.open(sys.argv[0], os.O_RDONLY) for _ in range(64)]
            if os.fork() == 0:
                print(sum(os.fstat(descriptor).st_size > 0 for descriptor in opened), flush=True)
                os._exit(0)
            os.wait()
            os._exit(0)
        os.wait()
    """
    with _start(tmp_path, script, packed) as process:
        out, _ = process.communicate(timeout=150)
    assert out == "64\n"
