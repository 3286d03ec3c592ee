"""CML: cross-modality localization (Tian et al. 2018, AVE): the event seconds of one modality, found in the other.

A2V is audio query, visual position: the sound of the event is given, and where it is seen is asked. V2A is visual
query, audio position.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shardkit.errors import UsageError
from shardkit.format.manifest import Manifest
from shardkit.tasks.label_choice import need_events
from shardkit.tasks.runs import run_begins

if TYPE_CHECKING:
    from shardkit.loading.batch import Batch

NOWHERE = -1
"""Start where there is nothing to look for."""


@dataclass(frozen=True, slots=True)
class CML:
    """`batch.target`: bool [B, N], the seconds of the event that is both heard and seen, whatever its class.

    There are none where they are not known.

    A2V (audio query, visual position) and V2A (visual query, audio position) ask for them; see `localize`.
    """

    classes: tuple[str, ...] = ()
    """The event classes, without background; known once it is bound to a data set."""

    @property
    def needs_segments(self) -> bool:
        """See BatchTask."""
        return True

    @property
    def needs_events(self) -> bool:
        """See BatchTask."""
        return True

    def bind(self, manifest: Manifest) -> "CML":
        """See BatchTask.

        Raises:
            UsageError: There are no events.
        """
        need_events(manifest, "cml")
        return replace(self, classes=manifest.event_classes)

    def __call__(self, batch: "Batch") -> "Batch":
        """See BatchTask."""
        return replace(batch, target=(batch.segment_targets["av"] > 0).any(dim=2))


@dataclass(frozen=True, slots=True)
class Localized:
    """Where the events of a batch were found, by A2V (audio query, visual position) and V2A (visual query, audio).

    A hit is an exact start: `start_a2v == query_a2v`. Clips without an answer have -1 in all four; leave them out.
    """

    start_a2v: Tensor
    """int64 [B]: A2V, audio query, visual position: first second of the window found in the picture."""
    start_v2a: Tensor
    """int64 [B]: V2A, visual query, audio position: first second of the window found in the sound."""
    query_a2v: Tensor
    """int64 [B]: A2V: first second of the audio query, where the event is to be seen."""
    query_v2a: Tensor
    """int64 [B]: V2A: first second of the visual query, where the event is to be heard."""
    length: Tensor
    """int64 [B]: l, the number of event seconds."""
    no_event: int
    """Clips left out for having no event second."""
    all_event: int
    """Clips left out for having nothing else: there is one window."""
    in_pieces: int
    """Clips left out because their event seconds are no single run: no window fits them."""


def localize(
    distance: Tensor | Callable[[int, int], Tensor],
    event: Tensor,
    visual_event: Tensor | None = None,
    *,
    segment_count: Tensor | None = None,
) -> Localized:
    """Looks for the l event seconds of one modality among all windows of l seconds of the other, both ways round.

    A2V (audio query, visual position): the event's seconds of sound, in order, against each of the N - l + 1 windows of
    the picture; V2A (visual query, audio position): its seconds of picture against each window of the sound. The window
    with the least sum of distances is the answer, the first of equals, as in AVE's cmm_test.py. Like there, a clip of
    which every second is event is left out; so is one without any, and one whose event seconds are in pieces, which AVE
    does not have.

    Args:
        distance: [B, N, N], floats or integers: from second i of the sound to second j of the picture, at [:, i, j]. Or
            a function of (i, j) that gives [B].
        event: bool [B, N]: the event's seconds, such as the target of task `cml`.
        visual_event: bool [B, N]: where they are in the picture, if pictures and sound were shuffled apart; `event` is
            where they are in the sound then. None: the same.
        segment_count: int64 [B], `batch.segment_count`: what lies behind a clip's end is no part of any window. None:
            all clips have N seconds.

    Raises:
        UsageError: Shapes that do not fit; NaN among the distances; or sound and picture of a clip do not have as many
            event seconds.
    """
    seen = event if visual_event is None else visual_event
    if event.dim() != 2 or event.shape != seen.shape or event.dtype != torch.bool or seen.dtype != torch.bool:
        raise UsageError(f"event masks {_named(event)}, {_named(seen)}: bool [B, N] is needed")
    count = event.shape[1]
    if not isinstance(distance, Tensor):
        measure = distance
        rows = [torch.stack([measure(i, j) for j in range(count)], dim=1) for i in range(count)]
        distance = torch.stack(rows, dim=1)
    if distance.shape != (len(event), count, count):
        raise UsageError(f"distances {_named(distance)} for events {_named(event)}: [B, N, N] is needed")
    if bool(distance.isnan().any()):
        raise UsageError("NaN among the distances: such a window is neither near nor far; see what the model gives")
    length = event.sum(dim=1)
    if not torch.equal(length, seen.sum(dim=1)):
        raise UsageError("sound and picture of a clip have the same number of event seconds: these masks do not")
    own = torch.full_like(length, count) if segment_count is None else segment_count
    whole = _is_run(event) & _is_run(seen)
    asked = (length > 0) & (length < own)
    answered = asked & whole
    query_a2v = _first(event).masked_fill(~answered, NOWHERE)
    query_v2a = _first(seen).masked_fill(~answered, NOWHERE)
    return Localized(
        start_a2v=_best(distance, query_a2v, length, own),
        start_v2a=_best(distance.transpose(1, 2), query_v2a, length, own),
        query_a2v=query_a2v,
        query_v2a=query_v2a,
        length=length,
        no_event=int((length == 0).sum()),
        all_event=int(((length > 0) & (length >= own)).sum()),
        in_pieces=int((asked & ~whole).sum()),
    )


def _best(distance: Tensor, query: Tensor, length: Tensor, own: Tensor) -> Tensor:
    """int64 [B]: start of the window with the least sum.

    Args:
        distance: [B, N, N]: from second i of the query's modality to second j of the other.
        query: int64 [B]: first second of the query; -1 for none.
        length: int64 [B]: its seconds.
        own: int64 [B]: seconds of the clip.
    """
    count = distance.shape[1]
    step = torch.arange(count, device=distance.device)
    # sums[b, s]: over k < l of distance[b, query + k, s + k].
    rows = (query[:, None, None] + step[None, None, :]).clamp(0, count - 1)
    columns = (step[None, :, None] + step[None, None, :]).clamp(max=count - 1)
    clip = torch.arange(len(distance), device=distance.device)[:, None, None]
    terms = distance.double()[clip, rows, columns]
    sums = terms.masked_fill(step >= length[:, None, None], 0.0).sum(dim=2)
    fits = step <= (own - length)[:, None]
    best = sums.masked_fill(~fits, torch.inf).argmin(dim=1)
    return best.masked_fill(query == NOWHERE, NOWHERE)


def _first(mask: Tensor) -> Tensor:
    return mask.int().argmax(dim=1)


def _is_run(mask: Tensor) -> Tensor:
    """Whether what is set in each row lies side by side, bool [B]; False where nothing is."""
    return run_begins(mask).sum(dim=1) == 1


def _named(values: Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')}{list(values.shape)}"
