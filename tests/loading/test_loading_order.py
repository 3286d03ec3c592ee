"""Order, resume and epochs through real loaders."""

import itertools
import json
import subprocess
import sys
import textwrap
import warnings

import pytest
from snapshots import real_keys, snapshot, snapshots

import shardkit
from shardkit.errors import UsageError

CLIPS = 24


def _loader(source, **options):
    defaults = {"batch_size": 4, "workers": 1, "worker_type": "thread", "modalities": ("audio",)}
    return shardkit.loader(source, **(defaults | options))


@pytest.mark.filterwarnings("ignore:batch_size=40 is more than")
@pytest.mark.parametrize("batch_size", [1, 5, 24, 40])
def test_every_clip_comes_once_an_epoch(packed, batch_size):
    """Whatever the batch size, the clips with weight 1 of an epoch are all clips, each once."""
    ds = shardkit.open(packed)
    with _loader(ds, batch_size=batch_size) as loader:
        assert len(loader) == -(-CLIPS // batch_size)
        for _ in range(2):
            assert sorted(real_keys(loader)) == sorted(ds.keys)


def test_the_order_is_the_same_for_any_batch_size_and_workers(packed):
    """One seed gives one order, in batches of 3 or 7, from one thread, three threads or two processes."""
    orders = []
    for options in (
        {"batch_size": 3},
        {"batch_size": 7, "workers": 3},
        {"batch_size": 7, "workers": 2, "worker_type": "process"},
    ):
        with _loader(packed, seed=9, **options) as loader:
            orders.append([real_keys(loader), real_keys(loader)])
    assert orders[0] == orders[1] == orders[2]


def test_batches_are_the_same_for_any_workers(packed):
    """The same loader with threads or processes, few or many, gives the same batches to the last value."""
    options = {"modalities": ("video", "audio"), "size": 64, "crop": "random", "window_s": 0.8, "batch_size": 5}
    taken = []
    for workers, worker_type in ((1, "thread"), (4, "thread"), (2, "process")):
        with _loader(packed, workers=workers, worker_type=worker_type, **options) as loader:
            taken.append(snapshots(loader))
    assert taken[0] == taken[1] == taken[2]


def test_epochs_and_seeds_differ(packed):
    """The next epoch, and another seed, has another order."""
    with _loader(packed) as one, _loader(packed, seed=1) as two:
        assert len({tuple(real_keys(one)), tuple(real_keys(one)), tuple(real_keys(two))}) == 3


def test_without_shuffle_clips_come_as_stored(packed):
    """shuffle=False gives the index's order, every epoch."""
    ds = shardkit.open(packed)
    with _loader(ds, shuffle=False) as loader:
        assert real_keys(loader) == real_keys(loader) == ds.keys


def test_clips_are_shuffled_within_windows_of_shards(packed):
    """shuffle_shards=2: of two shards every clip has come before the first clip of any other, in another order."""
    ds = shardkit.open(packed)
    with _loader(ds, shuffle_shards=2) as loader:
        epochs = [real_keys(loader), real_keys(loader)]
    assert epochs[0] != epochs[1]
    for keys in epochs:
        assert sorted(keys) == sorted(ds.keys)
        shards = [int(ds.index.shard[ds._row(key)]) for key in keys]
        seen = list(dict.fromkeys(shards))
        for first in range(0, len(seen), 2):
            window = set(seen[first : first + 2])
            places = [place for place, shard in enumerate(shards) if shard in window]
            assert places == list(range(places[0], places[-1] + 1))


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        ({}, {"shuffle_shards": 0}, "shuffle_shards=0: a whole number of at least 1"),
        ({}, {"shuffle_shards": 2, "shuffle": False}, "shuffle_shards=2 says how clips are shuffled"),
        ({}, {"locality": "rack"}, "locality='rack'"),
        ({"WORLD_SIZE": "4"}, {"locality": "node"}, "LOCAL_WORLD_SIZE not set"),
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "3"}, {"locality": "node"}, "LOCAL_WORLD_SIZE 3"),
    ],
)
def test_windows_and_nodes_that_make_no_sense_are_refused(packed, monkeypatch, environment, options, message):
    """A window of no shards, a locality that is none, nodes that nobody can count: UsageError."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        _loader(packed, **options)


def test_a_split_loads_its_clips_only(packed):
    """split='test' gives the five clips that the annotation file puts there."""
    with _loader(packed, split="test") as loader:
        assert sorted(real_keys(loader)) == [f"clip{n:02d}_0" for n in (3, 7, 11, 15, 19)]


def test_a_selection_loads_its_clips_only(packed):
    """A Dataset that was narrowed down by keys is loaded as it is."""
    ds = shardkit.open(packed).select(keys=["clip05_0", "clip01_0"])
    with _loader(ds, batch_size=2) as loader:
        assert sorted(real_keys(loader)) == ["clip01_0", "clip05_0"]


@pytest.mark.parametrize("step", range(7))
def test_resume_at_every_step_replays_and_loses_nothing(packed, step):
    """A state taken after any batch goes on in a loader with another batch size and other workers."""
    with _loader(packed, batch_size=4, seed=2) as loader:
        epochs = [real_keys(loader), real_keys(loader)]
    with _loader(packed, batch_size=4, seed=2) as first:
        iterator = iter(first)
        before = [key for batch in itertools.islice(iterator, step) for key in snapshot(batch).real_keys]
        state = json.loads(json.dumps(first.state_dict()))
    with _loader(packed, batch_size=5, seed=2, workers=2) as second:
        second.load_state_dict(state)
        after = real_keys(second)
        following = real_keys(second)
    if step == 6:  # the epoch was complete: the state stands before the next one
        assert (before, after) == (epochs[0], epochs[1])
    else:
        assert before + after == epochs[0]
        assert following == epochs[1]


def test_the_state_after_a_finished_loop_begins_the_next_epoch(packed):
    """A state saved after the loop, and one saved at its last batch, both lead into the next epoch."""
    with _loader(packed) as loader:
        for _ in loader:
            at_last_batch = loader.state_dict()
        after_loop = loader.state_dict()
        expected = real_keys(loader)
    for state in (at_last_batch, after_loop):
        with _loader(packed) as loader:
            loader.load_state_dict(state)
            assert real_keys(loader) == expected


def test_a_batch_that_the_transform_failed_on_is_not_delivered(packed):
    """After an error in `transform`, the state stands before that batch."""
    calls = itertools.count()

    def transform(batch):
        if next(calls) == 2:
            raise ZeroDivisionError
        return batch

    with _loader(packed, transform=transform) as loader:
        with pytest.raises(ZeroDivisionError):
            list(loader)
        assert loader.state_dict()["delivered"] == 8


def test_set_epoch_pins(packed):
    """After set_epoch(3) every iteration is epoch 3, until another epoch is set."""
    with _loader(packed) as loader:
        for _ in range(3):
            real_keys(loader)
        third = real_keys(loader)
        loader.set_epoch(3)
        assert real_keys(loader) == third
        assert real_keys(loader) == third
        loader.set_epoch(0)
        assert real_keys(loader) != third


def test_set_epoch_in_a_loop_is_for_the_next_one(packed):
    """Called in an epoch's body, it leaves that epoch as it is, and the next iteration runs the epoch that it names."""
    with _loader(packed, seed=2) as loader:
        loader.set_epoch(3)
        third = real_keys(loader)
    with _loader(packed, seed=2) as loader:
        zeroth = [key for batch in loader for key in batch.keys if loader.set_epoch(3) is None]
        assert loader.state_dict()["epoch"] == 0
        assert real_keys(loader) == third
    with _loader(packed, seed=2) as loader:
        assert real_keys(loader) == zeroth


def test_a_pinned_pass_of_several_epochs_begins_at_its_epoch_each_time(packed):
    """With epochs=2 and set_epoch(0) every iteration runs epochs 0 and 1."""
    with _loader(packed, epochs=2) as loader:
        loader.set_epoch(0)
        first = real_keys(loader)
        assert len(first) == 2 * CLIPS
        assert real_keys(loader) == first
        assert real_keys(loader) == first


def test_a_state_loaded_between_iter_and_the_first_batch_counts(packed):
    """An iteration that has not begun starts at the place that is loaded."""
    with _loader(packed) as loader:
        expected = real_keys(loader)
    with _loader(packed) as loader:
        batches = iter(loader)
        next(batches)
        state = loader.state_dict()
    with _loader(packed) as loader:
        batches = iter(loader)
        loader.load_state_dict(state)
        assert [key for batch in batches for key in batch.keys] == expected[4:]


def test_set_epoch_to_the_epoch_of_a_state_keeps_its_place(packed):
    """load_state_dict and then set_epoch of the same epoch, as DDP loops do, goes on in the middle of it."""
    with _loader(packed) as loader:
        loader.set_epoch(2)
        whole = real_keys(loader)
        iterator = iter(loader)
        next(iterator)
        state = loader.state_dict()
    with _loader(packed) as loader:
        loader.load_state_dict(state)
        loader.set_epoch(2)
        assert real_keys(loader) == whole[4:]


def test_a_pinned_epoch_that_was_finished_is_not_replayed_on_resume(packed):
    """The state after a pinned epoch's loop has nothing left of that epoch, and the next one follows."""
    with _loader(packed) as loader:
        loader.set_epoch(1)
        real_keys(loader)
        state = loader.state_dict()
        loader.set_epoch(2)
        second = real_keys(loader)
    with _loader(packed) as loader:
        loader.load_state_dict(state)
        loader.set_epoch(1)
        assert real_keys(loader) == []
        loader.load_state_dict(state)
        assert real_keys(loader) == second


@pytest.mark.parametrize("epoch", [-1, 1.5, True, "2"])
def test_set_epoch_refuses_what_is_no_epoch(packed, epoch):
    """An epoch is a whole number of at least 0."""
    with _loader(packed) as loader, pytest.raises(UsageError, match="whole number"):
        loader.set_epoch(epoch)


def test_an_abandoned_epoch_restarts(packed):
    """After `break` the next loop begins the same epoch again."""
    with _loader(packed) as loader:
        for taken in loader:
            first = snapshot(taken)
            break
        assert snapshots(loader)[0] == first


def test_a_second_iteration_ends_the_first(packed):
    """iter() twice: the first iterator says that it was ended, the second gives the whole epoch."""
    with _loader(packed) as loader:
        first = iter(loader)
        kept = snapshot(next(first))
        second = iter(loader)
        again = snapshot(next(second))
        with pytest.raises(UsageError, match="make two loaders"):
            next(first)
        rest = [snapshot(batch) for batch in second]
    assert again == kept
    assert len(rest) == CLIPS // 4 - 1


def test_an_iterator_that_was_ended_before_it_began_takes_nothing(packed):
    """An iterator that is first asked after a later one has begun says so, and disturbs the later one in nothing."""
    with _loader(packed) as loader:
        whole = snapshots(loader)
        loader.set_epoch(0)
        early = iter(loader)
        late = iter(loader)
        taken = [snapshot(next(late))]
        with pytest.raises(UsageError, match="make two loaders"):
            next(early)
        taken += [snapshot(batch) for batch in late]
    assert taken == whole


def test_closing_inside_the_loop_ends_it(packed):
    """close() in the loop's body ends the loop; the loader can be used again."""
    with _loader(packed) as loader:
        for _ in loader:
            loader.close()
        assert len(real_keys(loader)) == CLIPS


def test_a_state_loaded_inside_the_loop_ends_it(packed):
    """load_state_dict() in the loop's body: that loop ends without an error, the next one goes on from the state."""
    with _loader(packed) as loader:
        expected = real_keys(loader)
        loader.set_epoch(0)
        bodies = 0
        for _ in loader:
            bodies += 1
            if bodies == 1:
                state = loader.state_dict()
            if bodies == 3:
                loader.load_state_dict(state)
        assert bodies == 3
        assert real_keys(loader) == expected[4:]


@pytest.mark.parametrize("batch_size", [24, 25])
def test_a_batch_of_more_clips_than_there_are_is_warned_of_once(packed, batch_size):
    """batch_size beyond the data set: legal, and one UserWarning at the loop that names both numbers and what holds."""
    with _loader(packed, batch_size=batch_size) as loader, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            for batch in loader:
                assert batch.weight.sum() == CLIPS
    told = [each for each in caught if "is more than" in str(each.message)]
    if batch_size == 24:
        assert told == []
        return
    (warning,) = told
    assert warning.category is UserWarning
    assert warning.filename == __file__
    assert "batch_size=25 is more than the 24 clips there are" in str(warning.message)
    assert "batch_size=24 holds all of them" in str(warning.message)


def test_epochs_runs_through_several(packed):
    """epochs=3 gives in one iteration what three iterations give, and len says how many batches that are."""
    with _loader(packed) as loader:
        apart = [snapshots(loader) for _ in range(3)]
    with _loader(packed, epochs=3) as loader:
        together = snapshots(loader)
        assert len(loader) == len(together)
        assert loader.state_dict()["epoch"] == 3
    assert together == [taken for batches in apart for taken in batches]


def test_a_resumed_pass_of_several_epochs_ends_where_it_would_have(packed):
    """epochs=3, resumed in the second of the three: its rest and the third follow, no more."""
    with _loader(packed, epochs=3) as loader:
        batches, state = [], None
        for number, batch in enumerate(loader):
            batches.append(snapshot(batch))
            if number == 7:
                state = loader.state_dict()
    with _loader(packed, epochs=3) as loader:
        loader.load_state_dict(state)
        assert snapshots(loader) == batches[8:]


def test_an_error_at_the_start_of_an_epoch_loses_none_of_it(packed):
    """With several epochs in one pass, the state after an error on an epoch's first batch is at that epoch's start."""
    broken = []

    def transform(batch):
        broken.append(batch.keys)
        if len(broken) == CLIPS // 4 + 1:
            raise ZeroDivisionError
        return batch

    with _loader(packed, epochs=2, transform=transform) as loader:
        with pytest.raises(ZeroDivisionError):
            for _ in loader:
                pass
        assert (loader.state_dict()["epoch"], loader.state_dict()["delivered"]) == (1, 0)


def test_drop_last_leaves_out_the_short_batch(packed):
    """drop_last with batches of 7 gives three full batches of 24 clips, every epoch."""
    with _loader(packed, batch_size=7, drop_last=True) as loader:
        assert len(loader) == 3
        assert [snapshot(batch).weight for batch in loader] == [[1.0] * 7] * 3
        assert len(real_keys(loader)) == 21
        assert loader.state_dict()["epoch"] == 2


def test_drop_last_that_drops_everything_is_refused(packed):
    """A batch larger than the data set with drop_last is a UsageError, not an endless or empty loop."""
    with (
        _loader(packed, batch_size=25, drop_last=True) as loader,
        pytest.raises(UsageError, match="drop_last drops all 24"),
    ):
        iter(loader)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "train"}, "split=, where= or the selection of clips is another one.* load the same clips"),
        ({"where": "number != 7"}, "split=, where= or the selection of clips is another one.* load the same clips"),
        ({"balance": "label"}, "shuffle_shards= or balance= is not the same.* set_epoch"),
        ({"shuffle": False}, "shuffle= or, .* is not the same.* set_epoch"),
        ({"shuffle_shards": 2}, "shuffle_shards= or balance= is not the same.* set_epoch"),
        ({"seed": 7}, "seed=0, this loader has seed=7.* make the loader with seed=0"),
    ],
)
def test_a_state_of_another_order_is_refused(packed, options, message):
    """A state of another selection, shuffle or seed means other clips: UsageError that names which, and the remedy."""
    with _loader(packed) as loader:
        state = loader.state_dict()
    with _loader(packed, **options) as loader, pytest.raises(UsageError, match=message):
        loader.load_state_dict(state)


def test_a_state_beyond_the_last_clip_is_refused(packed):
    """A state that was edited is an error and no empty epoch."""
    with _loader(packed) as loader, pytest.raises(UsageError, match="1000 of 24 clips delivered"):
        loader.load_state_dict(loader.state_dict() | {"delivered": 1000})


def test_a_state_of_another_data_set_is_refused(packed, mixed):
    """A state of another data set is a UsageError, even where the numbers would fit."""
    with _loader(packed) as loader:
        state = loader.state_dict()
    with (
        _loader(mixed, modalities=("video",), size=96) as loader,
        pytest.raises(UsageError, match=r"the data set is another one.* load the one that the state was saved with"),
    ):
        loader.load_state_dict(state)


RANK_SCRIPT = textwrap.dedent(
    """
    import json, sys
    import torch.distributed as dist
    import shardkit

    folder, rank, store = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    options = dict(modalities=("audio",), workers=1, worker_type="thread", seed=4)
    with shardkit.loader(folder, batch_size=5, **options) as loader:
        steps = [
            [[k for k, w in zip(b.keys, b.weight.tolist()) if w], b.loss_scale, loader.state_dict()] for b in loader
        ]
        print(json.dumps([len(loader), steps]))
    dist.destroy_process_group()
    """
)


def test_two_ranks_share_an_epoch_and_a_state(packed, tmp_path):
    """Two gloo ranks see every clip once between them, interleaved; their states agree and resume on one rank."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", RANK_SCRIPT, str(packed), str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    (steps_0, zero), (steps_1, one) = (json.loads(rank.communicate(timeout=150)[0]) for rank in ranks)
    with _loader(packed, seed=4) as loader:
        order = real_keys(loader)
    assert steps_0 == steps_1 == len(zero) == len(one) == 3
    together = []
    for (keys_0, scale_0, state_0), (keys_1, scale_1, state_1) in zip(zero, one, strict=True):
        assert state_0 == state_1
        assert scale_0 == scale_1 == 2 / (len(keys_0) + len(keys_1))
        together += [key for pair in itertools.zip_longest(keys_0, keys_1) for key in pair if key]
    assert together == order
    with _loader(packed, seed=4, batch_size=3) as loader:
        loader.load_state_dict(zero[0][2])
        assert real_keys(loader) == order[10:]


def test_several_ranks_without_torch_distributed_are_refused(packed, monkeypatch):
    """WORLD_SIZE=2 without a process group would train every rank on all clips: UsageError with the call to make."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with _loader(packed) as loader, pytest.raises(UsageError, match=r"WORLD_SIZE is 2.*init_process_group"):
        iter(loader)
