"""Every row of every format is a clip's, a reject's, or joined to another clip: property tests."""

import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.annotations import AnnotationRequest, read_annotations
from shardkit.annotations.avvp_classes import CLASSES

ROUNDS = settings(deadline=None, max_examples=60)
IDS = st.sampled_from(["aaaaaaaaaaa", "-bbbbbbbbbb", "c_c_c_c_c_c", "short", "", "#NAME?"])
CELLS = st.sampled_from(["0", "3", "10", "9.5", "11", "", "x", "-1"])


def read(files, main, **options):
    """The annotation set of files with these texts."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {role: Path(folder, name) for role, (name, _) in files.items()}
        for role, (_, text) in files.items():
            paths[role].write_text(text, encoding="utf-8")
        also = {role: str(path) for role, path in paths.items() if role != main}
        return read_annotations(paths[main], AnnotationRequest(also=also, **options))


def assert_accounted(found, rows):
    """Rows 1 to `rows` are each in exactly one place."""
    assert found.row_count == rows
    places = [{clip.row for clip in found.clips}, {each.row for each in found.rejects}, set(found.joined_rows)]
    assert sorted(row for place in places for row in place) == list(range(1, rows + 1))
    assert len({each.row for each in found.rejects}) == len(found.rejects)


@given(st.lists(st.tuples(st.sampled_from(["Bark", "Goat", ""]), IDS, CELLS, CELLS), min_size=1, max_size=8))
@ROUNDS
def test_rows_of_ave_are_accounted_for(rows):
    """Clips and rejects together are the lines; an event lies in its clip and is of the clip's class."""
    text = "\n".join(f"{category}&{id}&good&{start}&{end}" for category, id, start, end in rows)
    found = read({"main": ("a.txt", text)}, "main")
    assert_accounted(found, len(rows))
    for clip in found.clips:
        category, id, *_ = rows[clip.row - 1]
        assert (clip.id, found.event_classes[clip.labels["event"][0]]) == (id, category)
        for event in clip.events:
            assert 0 <= event.start_s < event.end_s <= 10
            assert (event.class_id,) == clip.labels["event"]


@st.composite
def names(draw):
    """A clip of LLP, sometimes with a fault."""
    return f"{draw(IDS)}_{draw(st.sampled_from(['0_10', '30_40', '30_400', '5_5', 'x']))}"


LABELS = st.sampled_from([*CLASSES[:3], "Gong", ""])
EVENTS = st.lists(st.tuples(names(), CELLS, CELLS, LABELS), max_size=8)
WEAK = st.lists(st.tuples(names(), st.lists(LABELS, max_size=3).map(",".join)), min_size=1, max_size=6)


def text_of(header, rows):
    """A file of these rows, tab-separated."""
    return "\n".join("\t".join(row) for row in [header, *rows]) + "\n"


@given(st.none() | WEAK, EVENTS.filter(len), EVENTS.filter(len), st.booleans())
@ROUNDS
def test_rows_of_avvp_are_accounted_for(weak, audio, visual, main_is_weak):
    """With a weak file or without, as the annotation file or beside it; without, a clip has the events of its rows."""
    header = ("filename", "onset", "offset", "event_labels")
    files = {"audio": ("audio.csv", text_of(header, audio)), "visual": ("visual.csv", text_of(header, visual))}
    if weak is not None:
        files["val"] = ("val.csv", text_of(("filename", "event_labels"), weak))
    found = read(files, "val" if weak is not None and main_is_weak else "audio")
    assert_accounted(found, len(audio) + len(visual) + len(weak or ()))
    modalities = {event.modality for clip in found.clips for event in clip.events}
    assert modalities <= {"audio", "visual"}
    if weak is None:
        assert sum(len(clip.events) for clip in found.clips) == len(found.clips) + len(found.joined_rows)


STARTS = st.sampled_from(["0:00", "0:05", "1:00", "1:05", "2:00", "1:00:00", "x", ""])
TEXTS = st.sampled_from(["Wood", "Wood Tapping", "Preview", "Wood + Gong", "tapping", ""])
CHAPTERS = st.tuples(st.sampled_from(["a", "b", ""]), STARTS, TEXTS, st.sampled_from(["4000", ""]))


@given(st.lists(CHAPTERS, min_size=1, max_size=8))
@ROUNDS
def test_rows_of_chapters_are_accounted_for(rows):
    """A row makes clips of ten seconds that lie end to end, or one reject; no two clips of a row share a start."""
    files = {
        "main": ("a.tsv", text_of(("id", "start", "text", "duration_s"), rows)),
        "actions": ("actions.txt", "Tapping"),
        "materials": ("materials.txt", "Wood"),
    }
    found = read(files, "main")
    assert_accounted(found, len(rows))
    for row in {clip.row for clip in found.clips}:
        spans = [(clip.start_s, clip.end_s) for clip in found.clips if clip.row == row]
        assert all(end_s - start_s == 10 for start_s, end_s in spans)
        assert all(one[1] == other[0] for one, other in pairwise(spans))
