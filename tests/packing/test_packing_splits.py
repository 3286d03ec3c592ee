import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.annotations import read_annotations
from shardkit.clip import Clip
from shardkit.errors import UsageError
from shardkit.packing.splits import assign_splits, parse_split
from shardkit.taxonomy import UNKNOWN, LabelSet, Level

RELEASED = Path(__file__).parents[2] / "../shared/data/annotations/AVO-65.csv"
THIRDS = {"train": 0.8, "val": 0.1, "test": 0.1}
LABEL = LabelSet("label", "single", (Level("label", tuple("abcde")),))
TREE = LabelSet("tree", "hierarchy", (Level("top", ("x", "y")), Level("leaf", ("p", "q", "r"))), ((0, 0, 1),))


def clip(row, id, class_id=0, **fields):
    """A clip of a source, with one class."""
    return Clip(row=row, id=id, labels={"label": (class_id,)}, **fields)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("80/10/10", {"train": 0.8, "val": 0.1, "test": 0.1}),
        ("0.8/0.1/0.1", {"train": 0.8, "val": 0.1, "test": 0.1}),
        ("90/10", {"train": 0.9, "test": 0.1}),
        ("100", {"train": 1.0}),
        ("train=80,val=20", {"train": 0.8, "val": 0.2}),
        (" train = 80 / dev-2 = 20 ", {"train": 0.8, "dev-2": 0.2}),
        ("a=25,b=25,c=25,d=25", {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}),
    ],
)
def test_split_is_parsed(text, shares):
    """Shares add up to 100 or 1 and are train, val, test unless named."""
    assert parse_split(text) == shares


@pytest.mark.parametrize(
    "text",
    [
        *("", "80/10/20", "80/10/5/5", "a/b", "80/-10/30", "100/0", "train=80,20", "a=50,a=50", "=50,b=50"),
        *("a b=100", "nan/50", "inf", "1e400", "train=80,val=20,", "80//20"),
    ],
)
def test_bad_split_is_a_usage_error_with_examples(text):
    """Anything else is a UsageError that shows how it is written."""
    with pytest.raises(UsageError, match="80/10/10"):
        parse_split(text)


def test_shares_replace_the_splits_of_the_column():
    """Shares that are asked for decide, whatever the column says."""
    assert assign_splits([clip(1, "a", split="val")], shares={"train": 1.0}) == ["train"]


CLIPS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 4)), min_size=1, max_size=120).map(
    lambda pairs: [clip(row, f"s{source}", class_id) for row, (source, class_id) in enumerate(pairs)],
)


@given(CLIPS, st.integers(0, 3), st.sampled_from([None, "label"]))
@settings(deadline=None, max_examples=100)
def test_no_source_straddles_splits_and_row_order_makes_no_difference(clips, seed, stratify):
    """Clips of one source share a split, which is the same after the rows are shuffled."""
    options = {"shares": THIRDS, "stratify": stratify, "label_sets": [LABEL], "seed": seed}
    of_row = {entry.row: split for entry, split in zip(clips, assign_splits(clips, **options), strict=True)}
    splits_of = defaultdict(set)
    for entry in clips:
        splits_of[entry.id].add(of_row[entry.row])
    assert all(len(splits) == 1 for splits in splits_of.values())
    shuffled = random.Random(seed).sample(clips, len(clips))
    assert assign_splits(shuffled, **options) == [of_row[entry.row] for entry in shuffled]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 3))
@settings(deadline=None, max_examples=100)
def test_single_clips_meet_the_shares_in_every_class_and_in_total(class_ids, seed):
    """With one clip a source, shares hold within two clips for every class, and within one in total."""
    clips = [clip(row, f"s{row}", class_id) for row, class_id in enumerate(class_ids)]
    splits = assign_splits(clips, shares=THIRDS, stratify="label", label_sets=[LABEL], seed=seed)
    total = Counter(splits)
    for name, share in THIRDS.items():
        assert abs(total[name] - share * len(clips)) <= 1
    for class_id, count in Counter(class_ids).items():
        given = Counter(split for split, other in zip(splits, class_ids, strict=True) if other == class_id)
        for name, share in THIRDS.items():
            assert abs(given[name] - share * count) < 2


def test_rounding_is_carried_from_class_to_class():
    """Fifty classes of three clips each still give the test split its tenth."""
    clips = [clip(3 * c + k, f"s{c}_{k}", c) for c in range(50) for k in range(3)]
    wide = LabelSet("label", "single", (Level("label", tuple(map(str, range(50)))),))
    splits = assign_splits(clips, shares=THIRDS, stratify="label", label_sets=[wide])
    assert Counter(splits) == {"train": 120, "val": 15, "test": 15}


def test_huge_source_of_one_class_does_not_starve_the_next():
    """A source larger than its class's share does not cost the next class its training clips."""
    clips = [clip(n, "huge", 0) for n in range(1000)] + [clip(n, f"s{n}", 1) for n in range(1000, 1100)]
    splits = assign_splits(clips, shares=THIRDS, stratify="label", label_sets=[LABEL])
    assert set(splits[:1000]) == {"train"}
    assert abs(Counter(splits[1000:])["train"] - 80) <= 2


def test_seed_changes_which_sources_are_held_out():
    """Two seeds hold out different sources, in the same number."""
    clips = [clip(n, f"s{n}") for n in range(200)]
    first, second = (assign_splits(clips, shares=THIRDS, seed=seed) for seed in (0, 1))
    assert first != second
    assert Counter(first) == Counter(second)


def test_assignment_is_the_same_on_every_machine():
    """Which source is held out may not change with Python, platform or release of shardkit."""
    clips = [clip(n, f"s{n}") for n in range(12)]
    splits = assign_splits(clips, shares={"train": 0.75, "test": 0.25}, seed=7)
    held_out = [entry.id for entry, split in zip(clips, splits, strict=True) if split == "test"]
    assert held_out == ["s3", "s5", "s8"]


@pytest.mark.parametrize("shares", [{"a": 0.5, "b": 0.5}, {"a": 0.3, "b": 0.3, "c": 0.4}, THIRDS])
def test_assignment_does_not_depend_on_the_order_of_the_shares(shares):
    """The same shares in another order are the same shares."""
    clips = [clip(n, f"s{n}", n % 3) for n in range(50)]
    options = {"stratify": "label", "label_sets": [LABEL]}
    turned = dict(reversed(shares.items()))
    assert assign_splits(clips, shares=turned, **options) == assign_splits(clips, shares=shares, **options)


def test_groups_come_from_media_or_a_column():
    """Clips of one media file, or with one value in a column, stay together; without one, the id decides."""
    by_media = [clip(n, f"s{n}", media=f"m{n % 3}.mp4") for n in range(30)]
    by_column = [clip(n, f"s{n}", columns={"player": n % 3 or None}) for n in range(30)]
    halves = {"a": 0.5, "b": 0.5}
    media_splits = assign_splits(by_media, shares=halves, group="media")
    column_splits = assign_splits(by_column, shares=halves, group="player")
    for rest in range(3):
        assert len(set(media_splits[rest::3])) == 1
    assert [len(set(column_splits[rest::3])) for rest in (1, 2)] == [1, 1]
    assert set(column_splits[0::3]) == {"a", "b"}


def test_stratum_may_be_a_level_or_a_label_set():
    """A level's name means that level; the name of a hierarchy means its leaves."""
    clips = [Clip(row=n, id=f"s{n}", labels={"tree": ((0, 0), (0, 1), (1, 2))[n % 3]}) for n in range(60)]
    for stratify, classes in (("top", 2), ("leaf", 3), ("tree", 3)):
        splits = assign_splits(clips, shares={"a": 0.5, "b": 0.5}, stratify=stratify, label_sets=[LABEL, TREE])
        depth = 0 if stratify == "top" else 1
        counts = Counter((entry.labels["tree"][depth], split) for entry, split in zip(clips, splits, strict=True))
        assert len(counts) == 2 * classes
        assert all(abs(counts[c, "a"] - counts[c, "b"]) <= 2 for c in range(classes))


def test_group_counts_as_its_majority_class():
    """A source of mostly class 1 belongs to class 1; unknown labels do not count."""
    sources = [clip(n, f"s{n // 4}", (1, 1, 0, UNKNOWN)[n % 4]) for n in range(80)]
    alone = [clip(n, f"s{n // 4}", 1) for n in range(80)]
    options = {"shares": THIRDS, "stratify": "label", "label_sets": [LABEL]}
    assert assign_splits(sources, **options) == assign_splits(alone, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group": "player"}, "'player'.*it has note"),
        ({"stratify": "genre"}, "no such label set or level.*label, tree, top, leaf"),
        ({"shares": {"train": 0.5}}, "add up to 1"),
        ({"shares": {"train": 1.5, "test": -0.5}}, "above 0"),
        ({"shares": {"train": float("nan")}}, "above 0"),
    ],
)
def test_bad_request_is_a_usage_error_listing_what_there_is(options, said):
    """Unknown columns and levels, and shares that are none, are UsageErrors."""
    clips = [clip(1, "a", columns={"note": "x"})]
    with pytest.raises(UsageError, match=said):
        assign_splits(clips, **({"shares": THIRDS, "label_sets": [LABEL, TREE]} | options))


@pytest.mark.skipif(not RELEASED.exists(), reason="../shared/data/annotations/AVO-65.csv is not there")
@pytest.mark.parametrize("level", ["level_1", "level_4"])
def test_avo65_is_split_by_class_without_straddling_sources(level):
    """AVO-65 at 80/10/10: totals within a few clips, each class near its shares, no source on two sides."""
    found = read_annotations(RELEASED)
    splits = assign_splits(found.clips, shares=THIRDS, stratify=level, label_sets=found.label_sets, seed=3)
    depth = [each.name for each in found.label_sets[0].levels].index(level)
    total = Counter(splits)
    per_class = defaultdict(Counter)
    sides = defaultdict(set)
    for entry, split in zip(found.clips, splits, strict=True):
        per_class[entry.labels["instrument"][depth]][split] += 1
        sides[entry.id].add(split)
    assert max(map(len, sides.values())) == 1
    for name, share in THIRDS.items():
        assert abs(total[name] - share * len(splits)) <= 3
        for counts in per_class.values():
            assert abs(counts[name] - share * counts.total()) <= 3


def test_clips_of_one_media_file_stay_together_whatever_their_ids():
    """A table may name clips in `id` and their source in `media`; also where only a chain of both connects them."""
    clips = [clip(row, f"clip{row}", media=f"video{row // 7}.mp4") for row in range(70)]
    splits = assign_splits(clips, shares={"train": 0.5, "test": 0.5}, seed=0)
    for start in range(0, 70, 7):
        assert len(set(splits[start : start + 7])) == 1
    assert splits.count("train") == 35
    chain = [
        clip(1, "a", media="1.mp4"),
        clip(2, "b", media="1.mp4"),
        clip(3, "b", media="2.mp4"),
        clip(4, "c", media="2.mp4"),
    ]
    assert len(set(assign_splits(chain, shares={"train": 0.5, "test": 0.5}, seed=0))) == 1
