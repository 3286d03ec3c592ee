"""BatchTask: what a loader's batches are for. `shardkit.tasks` has the tasks; a loader only knows this."""

from typing import Protocol, runtime_checkable

from shardkit.format.manifest import Manifest
from shardkit.loading.batch import Batch


@runtime_checkable
class BatchTask(Protocol):
    """Sets `batch.target`; the same batch always gets the same."""

    @property
    def needs_segments(self) -> bool:
        """Whether batches must have segments."""

    @property
    def needs_events(self) -> bool:
        """Whether its targets are of events, so that a clip of which those are not known has none."""

    def bind(self, manifest: Manifest) -> "BatchTask":
        """The task for a data set.

        Raises:
            UsageError: The data set does not have the labels that it needs; names those there are.
        """

    def __call__(self, batch: Batch) -> Batch:
        """The batch with its target, on whichever device it is."""
