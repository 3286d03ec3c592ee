"""Batches of the spelled clips: loaded once, never changed."""

from collections.abc import Callable
from pathlib import Path

import pytest

import shardkit
from shardkit.loading.batch import Batch


@pytest.fixture(scope="session")
def spelled_batches(spelled: Path) -> Callable[..., list[Batch]]:
    """`spelled_batches(task="avel")`: an epoch of all twelve clips in batches of eight; the last half of it is padding.

    The batches stay valid when their loader is closed.
    """
    done: dict[str, list[Batch]] = {}

    def batches(**options: str) -> list[Batch]:
        name = repr(options)
        if name not in done:
            with shardkit.loader(spelled, batch_size=8, workers=1, worker_type="thread", seed=5, **options) as loader:
                done[name] = list(loader)
        return done[name]

    return batches
