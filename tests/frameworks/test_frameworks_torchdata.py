"""The loader in the place of torchdata's StatefulDataLoader, and as a source of torchdata.nodes."""

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_loaders import real_keys, small_loader
from snippet_runs import expected_order, snippet
from torchdata.nodes import IterableWrapper, Loader, Prefetcher
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.stateful import Stateful

import shardkit
from shardkit.errors import UsageError

# torchdata 0.11 calls something that torch 2.13 asks not to be called.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")

STEPS = 5
"""Steps of an epoch: 24 clips in batches of 5."""


class Script:
    """What a training script does with a loader of either kind."""

    def __init__(self, make):
        self._make = make
        self._loader = make()
        self._iterator = None

    def take(self, count):
        """The next batches; where a pass ends, the next pass's."""
        taken = []
        while len(taken) < count:
            self._iterator = self._iterator or iter(self._loader)
            batch = next(self._iterator, None)
            if batch is None:
                self._iterator = None
            else:
                taken.append(batch)
        return taken

    def leave(self, _):
        """Ends the pass early."""
        self._iterator = None
        return []

    def restart(self, _):
        """Saves the state as in a checkpoint, and goes on with another loader."""
        checkpoint = io.BytesIO()
        torch.save(self._loader.state_dict(), checkpoint)
        checkpoint.seek(0)
        self._iterator = None
        self._loader = self._make()
        self._loader.load_state_dict(torch.load(checkpoint, weights_only=True))
        return []


@settings(max_examples=40)
@given(acts=st.lists(st.tuples(st.sampled_from(["take", "leave", "restart"]), st.integers(1, 7)), max_size=10))
def test_a_script_gets_the_batches_that_a_stateful_dataloader_gives(packed, acts):
    """A script that loops, breaks off, saves and resumes anywhere gets the same batches from either loader."""
    keys = shardkit.open(packed).keys
    ours = Script(lambda: small_loader(packed, shuffle=False, transform=real_keys))
    theirs = Script(lambda: StatefulDataLoader(keys, batch_size=5, collate_fn=list))
    acts = [*acts, ("take", 3)]
    assert [getattr(ours, act)(count) for act, count in acts] == [getattr(theirs, act)(count) for act, count in acts]


def test_the_loader_is_stateful(packed):
    """The loader is what torchdata calls Stateful."""
    with small_loader(packed) as loader:
        assert isinstance(loader, Stateful)


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_state_waits_for_the_first_batch(packed, step):
    """A trainer that calls iter() twice after load_state_dict() loses nothing: the state is used by the first batch."""
    with small_loader(packed, transform=real_keys) as loader:
        whole = [*loader, *loader]
        loader.set_epoch(0)
        for _ in zip(range(step), loader, strict=False):
            pass
        state = loader.state_dict()
    with small_loader(packed, transform=real_keys) as loader:
        loader.load_state_dict(state)
        iter(loader)
        assert loader.state_dict() == state
        assert next(iter(loader)) == whole[step]


def test_the_epoch_can_be_set_after_iter(packed):
    """set_epoch() between iter() and the first batch holds: the batches are that epoch's."""
    with small_loader(packed, transform=real_keys) as loader:
        epochs = [list(loader), list(loader)]
        loader.set_epoch(0)
        iterator = iter(loader)
        loader.sampler.set_epoch(1)
        assert list(iterator) == epochs[1]
        assert loader.state_dict()["epoch"] == 1


def test_all_batches_of_an_epoch_finish_it(packed):
    """A loop that counts len(loader) batches and never sees the iterator's end goes on with the next epoch."""
    with small_loader(packed, transform=real_keys) as loader:
        epochs = [list(loader), list(loader)]
    with small_loader(packed, transform=real_keys) as loader:
        counted = []
        for _ in range(2):
            iterator = iter(loader)
            counted.append([next(iterator) for _ in range(len(loader))])
        assert counted == epochs


def test_a_finished_epoch_that_is_set_again_after_a_restart_is_empty(packed):
    """The state of an epoch's last batch and set_epoch() of that epoch: nothing left; the next epoch is whole."""
    with small_loader(packed, transform=real_keys) as loader:
        epochs = [list(loader), list(loader)]
        loader.set_epoch(0)
        for _ in loader:
            state = loader.state_dict()
    with small_loader(packed, transform=real_keys) as loader:
        loader.load_state_dict(state)
        resumed = []
        for epoch in range(loader.state_dict()["epoch"], 2):
            loader.set_epoch(epoch)
            resumed.append(list(loader))
        assert resumed == [[], epochs[1]]


def test_the_length_is_that_of_the_present_world(packed, monkeypatch):
    """len() asked before ranks are known is not held to afterwards."""
    with small_loader(packed) as loader:
        assert len(loader) == STEPS
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(UsageError, match="WORLD_SIZE is 2"):
            len(loader)


@pytest.mark.parametrize("step", range(1, STEPS))
def test_a_pipeline_of_nodes_goes_on_where_it_was_saved(packed, step):
    """The state of a pipeline that reads ahead is that of the batch it handed out last."""

    def pipeline():
        return Loader(Prefetcher(IterableWrapper(small_loader(packed, transform=real_keys)), prefetch_factor=2))

    with small_loader(packed, transform=real_keys) as loader:
        whole = list(loader)
    first = pipeline()
    iterator = iter(first)
    taken = [next(iterator) for _ in range(step)]
    second = pipeline()
    second.load_state_dict(first.state_dict())
    assert taken + list(second) == whole


def test_the_nodes_snippet_runs(packed):
    """README's pipeline turns the loader's batches into spectra."""
    text = snippet("torchdata.nodes", {'"shards"': repr(str(packed)), "batch_size=16": "batch_size=5"})
    names = {}
    exec(text, names)
    with names["source"]:
        weights = [weight.sum() for spectra, weight in names["loader"] if spectra.shape == (5, 201, 201)]
    assert sum(weights) == len(expected_order(packed, epochs=1))
