import re

from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.clip import Clip
from shardkit.packing.keys import clip_keys

# Ids that look like each other's keys, ordinals and escapes are the ones that could collide.
AWKWARD = st.sampled_from(
    ["a", "a_1", "a_1_2", "a_0", "a_0_2", "a.b", "a~2Eb", "~", "", "é", "e\u0301", "x" * 64, "x" * 65]
)
IDS = st.one_of(AWKWARD, st.text(st.characters(codec="utf-8"), max_size=80))
STARTS = st.one_of(st.none(), st.sampled_from([0.0, 0.001, 0.002, 0.0004]), st.floats(0, 999_999_999))


def clips_of(ids_and_starts):
    """Clips with these ids and starts, in this order."""
    return [Clip(row=row, id=id, start_s=start) for row, (id, start) in enumerate(ids_and_starts, start=1)]


def test_key_is_id_and_start_in_milliseconds():
    """The key is the id and the start in ms, 0 where the start is not known."""
    clips = clips_of([("-70tewjjQKc", 30.0), ("a_b", None), ("x", 1.2345)])
    assert clip_keys(clips) == ["-70tewjjQKc_30000", "a_b_0", "x_1234"]


def test_repeated_key_gets_an_ordinal_in_row_order():
    """The second and third clip of a span are numbered 2 and 3; an id that ends in _2 does not collide."""
    clips = clips_of([("a", 1.0), ("a", 1.0), ("b", 1.0), ("a", 1.0), ("a_1000", 0.002)])
    assert clip_keys(clips) == ["a_1000", "a_1000_2", "b_1000", "a_1000_3", "a_1000_2_2"]


def test_characters_outside_the_alphabet_are_escaped():
    """Dots, slashes, blanks, tildes and letters beyond ASCII become ~XX for every UTF-8 byte."""
    assert clip_keys(clips_of([("a.b/c d~é", 0.0)])) == ["a~2Eb~2Fc~20d~7E~C3~A9_0"]


def test_long_ids_stay_apart():
    """Ids that differ only after the place where they are cut have different keys, without an ordinal."""
    first, second = clip_keys(clips_of([("x" * 100 + "1", 0.0), ("x" * 100 + "2", 0.0)]))
    assert first != second
    assert re.fullmatch(r"x{47}~[0-9a-f]{16}_0", first)


@given(st.lists(st.tuples(IDS, STARTS), max_size=30))
@settings(deadline=None, max_examples=200)
def test_keys_are_distinct_names_that_fit_a_ustar_header(ids_and_starts):
    """Whatever the ids: distinct keys of letters, digits, _, - and ~, within 100 bytes with .flac."""
    clips = clips_of(ids_and_starts)
    keys = clip_keys(clips)
    assert len(keys) == len(set(keys)) == len(clips)
    for key in keys:
        assert re.fullmatch(r"[A-Za-z0-9_~-]+", key)
        assert len(key + ".flac") <= 100


@given(st.lists(st.tuples(IDS, STARTS), max_size=30), st.data())
@settings(deadline=None, max_examples=100)
def test_a_key_does_not_depend_on_later_rows(ids_and_starts, data):
    """Rows appended to an annotation file leave the keys of the earlier rows as they were."""
    clips = clips_of(ids_and_starts)
    count = data.draw(st.integers(0, len(clips)))
    assert clip_keys(clips[:count]) == clip_keys(clips)[:count]
