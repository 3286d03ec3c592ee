"""Splits: which clips train and which test; no source stands on both sides, and classes keep their shares."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from shardkit.annotations.annotation_set import AnnotationSet
from shardkit.annotations.sources import source_names
from shardkit.clip import Clip
from shardkit.errors import UsageError
from shardkit.taxonomy import UNKNOWN, LabelSet, find_level

_DEFAULT_NAMES = {1: ("train",), 2: ("train", "test"), 3: ("train", "val", "test")}
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SUM_TOLERANCE = 1e-6
_EXAMPLES = "80/10/10, 90/10 or train=80,val=20"


def parse_split(text: str) -> dict[str, float]:
    """Split names to shares that add up to 1, from `80/10/10`, `90/10` or `train=80,val=20`.

    Raises:
        UsageError: The text is none of these, or the shares add up to neither 100 nor 1.
    """
    parts = [part.strip() for part in re.split("[/,]", text)]
    named = [part.partition("=") for part in parts]
    if all(equals for _, equals, _ in named):
        names = tuple(name.strip() for name, _, _ in named)
    elif any(equals for _, equals, _ in named) or len(parts) not in _DEFAULT_NAMES:
        raise UsageError(f"split {text!r}: give one to three shares, or a name for every share, as in {_EXAMPLES}")
    else:
        names = _DEFAULT_NAMES[len(parts)]
        named = [("", "", part) for part in parts]
    if len(set(names)) != len(names) or not all(map(_NAME.fullmatch, names)):
        raise UsageError(f"split {text!r}: names are distinct words of letters, digits, - and _, as in {_EXAMPLES}")
    try:
        numbers = [float(number) for _, _, number in named]
    except ValueError as exc:
        raise UsageError(f"split {text!r}: a share is not a number; write it as in {_EXAMPLES}") from exc
    whole = sum(numbers)
    for total in (100.0, 1.0):
        if math.isclose(whole, total, rel_tol=_SUM_TOLERANCE):
            shares = {name: number / total for name, number in zip(names, numbers, strict=True)}
            _check_shares(shares)
            return shares
    raise UsageError(f"split {text!r}: the shares add up to {whole:g}, expected 100 or 1, as in {_EXAMPLES}")


def default_splits(annotated: AnnotationSet) -> list[str]:
    """The split of every clip where no shares are given: the first named division's, or else the annotation file's."""
    scheme = next(iter(annotated.split_sets), None)
    if scheme is not None:
        return [clip.splits.get(scheme, "") for clip in annotated.clips]
    return [clip.split or "" for clip in annotated.clips]


def assign_splits(
    clips: Sequence[Clip],
    *,
    shares: Mapping[str, float],
    group: str = "id",
    stratify: str | None = None,
    label_sets: Sequence[LabelSet] = (),
    seed: int = 0,
) -> list[str]:
    """The split of every clip.

    Clips of one group share a split. Which split depends on the group's name, class and size and on the
    seed, not on the order of the rows.

    Args:
        clips: The clips, in any order.
        shares: Split to its share of the clips.
        group: What must not straddle splits: `id` (the source: clips that share an id or a media file), `media`, or
            one of the other columns.
        stratify: A label set or a level: the shares hold within each of its classes too. A group counts as
            what most of its clips are.
        label_sets: What `stratify` may name.
        seed: Another seed gives another assignment.

    Raises:
        UsageError: Shares that do not add up to 1, or a group, label set or level that is not there.
    """
    _check_shares(shares)
    # Of splits that are owed equally much the larger is served first, then the first by name.
    shares = dict(sorted(shares.items(), key=lambda share: (-share[1], share[0])))
    class_ids_of = _classes_for(stratify, label_sets)
    members: dict[str, list[int]] = {}
    for place, name in enumerate(_group_names(clips, group)):
        members.setdefault(name, []).append(place)
    strata: dict[int, list[str]] = {}
    for name, places in members.items():
        counts = Counter(id for place in places for id in class_ids_of(clips[place]))
        strata.setdefault(_majority(counts), []).append(name)

    splits = [""] * len(clips)
    owed = dict.fromkeys(shares, 0.0)
    for _, names in sorted(strata.items()):
        sizes = {name: len(members[name]) for name in names}
        chosen = _divide(sizes, shares, owed=owed, seed=seed)
        for name, split in chosen.items():
            for place in members[name]:
                splits[place] = split
        for split, share in shares.items():
            given = sum(sizes[name] for name in names if chosen[name] == split)
            owed[split] += share * sum(sizes.values()) - given
    return splits


def _divide(
    sizes: Mapping[str, int],
    shares: Mapping[str, float],
    *,
    owed: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """The split of every group of a stratum; `owed` is what rounding in earlier strata cost each split."""
    largest = max(sizes.values())
    # At most one group's worth of the debt is paid here: a huge source in one class must not empty the
    # training split of the next class.
    missing = {
        split: share * sum(sizes.values()) + min(max(owed[split], -largest), largest) for split, share in shares.items()
    }

    def by_size(name: str) -> tuple[int, bytes, str]:
        # Large groups first, while there is room to make up for them; the hash decides among equals.
        return -sizes[name], hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest(), name

    chosen: dict[str, str] = {}
    for name in sorted(sizes, key=by_size):
        split = max(missing, key=missing.__getitem__)
        missing[split] -= sizes[name]
        chosen[name] = split
    return chosen


def _group_names(clips: Sequence[Clip], group: str) -> list[str]:
    if group == "id":
        return source_names((clip.id, clip.media) for clip in clips)
    if group == "media":
        return [_tagged("media", clip.media) if clip.media else _tagged("id", clip.id) for clip in clips]
    known = {name for clip in clips for name in clip.columns}
    if group not in known:
        raise UsageError(
            f"split group {group!r}: clips are grouped by id, media or a column of the annotation file; "
            f"it has {', '.join(sorted(known)) or 'no other columns'}",
        )
    # A clip without a value is known by its source only.
    return [
        _tagged("id", clip.id) if (value := clip.columns.get(group)) is None else _tagged("column", str(value))
        for clip in clips
    ]


def _tagged(kind: str, name: str) -> str:
    """A group's name that no group of another kind has."""
    return f"{kind}\0{name}"


def _classes_for(stratify: str | None, label_sets: Sequence[LabelSet]) -> Callable[[Clip], Sequence[int]]:
    """From a clip to its class ids at the level that `stratify` names."""
    if stratify is None:
        return lambda _: ()
    try:
        labels, depth = find_level(label_sets, stratify)
    except UsageError as exc:
        raise UsageError(f"stratify {exc}") from exc
    return lambda clip: _ids_at(clip, labels, depth)


def _ids_at(clip: Clip, labels: LabelSet, depth: int) -> Sequence[int]:
    ids = clip.labels.get(labels.name, ())
    return ids if labels.kind == "multi" else ids[depth : depth + 1]


def _majority(counts: Counter[int]) -> int:
    """The class that most clips of a group have, the lowest of equals; UNKNOWN where no class is known."""
    known = [(-count, id) for id, count in counts.items() if id != UNKNOWN]
    return min(known)[1] if known else UNKNOWN


def _check_shares(shares: Mapping[str, float]) -> None:
    if not all(0 < share <= 1 for share in shares.values()) or not math.isclose(sum(shares.values()), 1, rel_tol=1e-6):
        given = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        raise UsageError(
            f"split shares {given}: expected shares above 0 that add up to 1 (or to 100), as in {_EXAMPLES}"
        )
