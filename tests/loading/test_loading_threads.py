"""Several threads and one loader: one iterates, another gets a clear error, and nothing is lost."""

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from snapshots import real_keys

import shardkit
from shardkit.errors import UsageError

CLIPS = 24
REFUSED = r"is being iterated over in another thread; make one loader for each"


def _loader(source, **options):
    return shardkit.loader(source, **({"batch_size": 4, "workers": 2, "worker_type": "thread"} | options))


def _elsewhere(function):
    """What a function gives in a thread of its own."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function).result()


@pytest.mark.parametrize("worker_type", ["process", "thread"])
def test_a_second_thread_is_refused_and_the_first_goes_on(packed, worker_type):
    """At every batch another thread tries to iterate: a UsageError each time, and the first gets the whole epoch."""
    with _loader(packed, worker_type=worker_type) as loader:
        expected = real_keys(loader)
        loader.set_epoch(0)
        keys = []
        with ThreadPoolExecutor(1) as other:
            for batch in loader:
                keys += batch.keys
                with pytest.raises(UsageError, match=REFUSED):
                    other.submit(lambda: next(iter(loader))).result()
        assert keys == expected


def test_many_threads_at_once_give_one_epoch_between_them(packed):
    """Eight threads start to iterate at one moment: each gets whole epochs or a UsageError, never anything else."""
    with _loader(packed) as loader:
        loader.set_epoch(0)
        expected = real_keys(loader)
        start = threading.Barrier(8)

        def iterate():
            start.wait()
            try:
                return real_keys(loader)
            except UsageError as exc:
                return str(exc)

        for _ in range(5):
            with ThreadPoolExecutor(8) as threads:
                outcomes = [future.result() for future in [threads.submit(iterate) for _ in range(8)]]
            for outcome in outcomes:
                assert outcome == expected or "make one loader for each" in outcome or "make two loaders" in outcome
            assert expected in outcomes


def test_two_threads_in_one_iterator_are_refused_while_a_batch_is_made(packed):
    """next() in a second thread while the first is in it: UsageError, and the first gets its batch and those after."""
    inside, go_on = threading.Event(), threading.Event()

    def held(batch):
        inside.set()
        assert go_on.wait(30)
        return batch

    with _loader(packed, transform=held) as loader:
        batches = iter(loader)
        with ThreadPoolExecutor(1) as first:
            taken = first.submit(lambda: [key for batch in batches for key in batch.keys])
            assert inside.wait(30)
            for use in (lambda: next(batches), lambda: iter(loader), batches.close):
                with pytest.raises(UsageError, match=REFUSED):
                    use()
            go_on.set()
            assert len(taken.result()) == CLIPS


def test_an_iterator_may_be_handed_to_another_thread(packed):
    """The first batch taken here and the rest in a thread that is started for it, as prefetchers do: a whole epoch."""
    with _loader(packed) as loader:
        batches = iter(loader)
        keys = list(next(batches).keys)
        keys += _elsewhere(lambda: [key for batch in batches for key in batch.keys])
        assert sorted(keys) == sorted(loader.dataset.keys)


def test_a_thread_that_has_ended_or_closed_its_iteration_keeps_nobody_out(packed):
    """An epoch left in its middle by a thread that is gone, or that closed its iterator, is begun again by another."""
    with _loader(packed) as loader:
        left = []

        def leave():
            left.append(iter(loader))
            next(left[0])

        _elsewhere(leave)
        assert len(real_keys(loader)) == CLIPS
        mine = iter(loader)
        next(mine)
        mine.close()
        assert len(_elsewhere(lambda: real_keys(loader))) == CLIPS


def test_closing_from_another_thread_waits_for_the_batch_that_is_made(packed):
    """close() while another thread is given a batch: it gets it, whole, and then its loop ends without an error."""
    inside, go_on = threading.Event(), threading.Event()

    def held(batch):
        inside.set()
        assert go_on.wait(30)
        return batch

    loader = _loader(packed, transform=held, worker_type="process")
    with ThreadPoolExecutor(2) as threads:
        taken = threads.submit(lambda: [len(batch.keys) for batch in loader])
        assert inside.wait(30)
        closed = threads.submit(loader.close)
        time.sleep(0.3)
        assert not closed.done()
        assert loader._engine is not None
        go_on.set()
        closed.result(30)
        assert set(taken.result(30)) == {4}
    assert loader._engine is None
    loader.close()


def test_a_loader_that_has_not_begun_can_be_sent_to_another_process(packed):
    """Launchers pickle what they start with: the copy loads what the original does."""
    loader = _loader(packed)
    with pickle.loads(pickle.dumps(loader)) as copy, loader:
        assert real_keys(copy) == real_keys(loader)
        with pytest.raises(TypeError, match="a loader with workers cannot be copied or pickled: make one where"):
            pickle.dumps(loader)
