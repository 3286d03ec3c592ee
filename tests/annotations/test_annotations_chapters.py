"""Chapters: FGAVE's real comment, and lists like it."""

from collections import Counter
from pathlib import Path

import pytest

from shardkit.annotations import AnnotationRequest, read_annotations
from shardkit.clip import UNKNOWN_EVENTS, Event, Reason
from shardkit.errors import DataError, UsageError
from shardkit.taxonomy import UNKNOWN

COMMENT = Path(__file__).parents[2] / "../shared/data/annotations/fgave_chapters.tsv"
ACTIONS = ("Tapping", "Scratching", "Brush tapping")
MATERIALS = (
    *("Sponge", "Sponge mic cover", "Non-slip seal", "Glass rod", "Wood ball", "Wood", "Ribbon silicone mittens"),
    *("Rhinestone Mic", "Silicone brush", "Felt ball", "Silicone food wrap"),
)


@pytest.fixture
def vocabularies(tmp_path):
    """Role to a file of classes, with a blank line, as an editor leaves it."""
    files = {"actions": ACTIONS, "materials": MATERIALS}
    for role, classes in files.items():
        (tmp_path / f"{role}.txt").write_text("\n".join(classes) + "\n\n")
    return {role: str(tmp_path / f"{role}.txt") for role in files}


@pytest.fixture
def chapters(tmp_path, vocabularies):
    """Reads a list of chapters with this text."""

    def read(text, **options):
        path = tmp_path / "video.tsv"
        path.write_text(text, encoding="utf-8")
        return read_annotations(path, AnnotationRequest(also=vocabularies, **options))

    return read


def test_the_real_comment_has_eleven_events_in_thirteen_rows(vocabularies):
    """Preview and Start are no events; each of the other rows is cut into the clips that its length holds."""
    if not COMMENT.exists():
        pytest.skip("../shared/data/annotations/fgave_chapters.tsv is not there")
    found = read_annotations(COMMENT, AnnotationRequest(also=vocabularies, duration_s=2200.0))
    assert (found.format, found.row_count) == ("chapters", 13)
    assert [(reject.row, reject.reason) for reject in found.rejects] == [(1, Reason.NO_EVENT), (2, Reason.NO_EVENT)]
    clips = Counter(clip.row for clip in found.clips)
    assert dict(clips) == {3: 20, 4: 29, 5: 10, 6: 10, 7: 17, 8: 21, 9: 21, 10: 29, 11: 21, 12: 14, 13: 15}
    assert {clip.id for clip in found.clips} == {"fgave_chapters"}


def test_real_texts_are_materials_and_perhaps_an_action(vocabularies):
    """`A + B` are two materials, an action stands at the end in any case, and a chapter without one is unknown."""
    if not COMMENT.exists():
        pytest.skip("../shared/data/annotations/fgave_chapters.tsv is not there")
    found = read_annotations(COMMENT, AnnotationRequest(also=vocabularies, duration_s=2200.0))
    action, material = found.label_sets
    assert (action.kind, action.leaf.classes, found.event_classes) == ("single", ACTIONS, ACTIONS)
    assert (material.kind, material.leaf.classes) == ("multi", MATERIALS)
    said = {
        clip.columns["text"]: (clip.labels["action"][0], {MATERIALS[id] for id in clip.labels["material"]})
        for clip in found.clips
    }
    assert said["Sponge + Sponge mic cover"] == (UNKNOWN, {"Sponge", "Sponge mic cover"})
    assert said["Wood Scratching"] == (1, {"Wood"})
    assert said["Rhinestone Mic scratching"] == (1, {"Rhinestone Mic"})
    unknown = tuple(UNKNOWN_EVENTS.values())
    assert all(clip.flags == (unknown if clip.labels["action"] == (UNKNOWN,) else ()) for clip in found.clips)


def test_a_chapter_is_cut_from_its_start_and_its_rest_left_out(chapters):
    """28 seconds are two clips, whose event is the whole of them; a row's clips follow each other."""
    found = chapters("start\ttext\n0:05\tWood Tapping\n33\tPreview\n1:00:00\tWood\n", duration_s=3610)
    assert [(clip.row, clip.start_s, clip.end_s) for clip in found.clips] == [
        (1, 5.0, 15.0),
        (1, 15.0, 25.0),
        (3, 3600.0, 3610.0),
    ]
    assert [clip.events for clip in found.clips] == [(Event(0.0, 10.0, 0, "av"),)] * 2 + [()]


def test_the_last_chapter_needs_the_sources_length(chapters):
    """Without it the row is rejected, and says how to give it."""
    found = chapters("start\ttext\n00:00\tWood\n00:20\tSponge\n")
    assert [clip.row for clip in found.clips] == [1, 1]
    (reject,) = found.rejects
    assert (reject.row, reject.reason) == (2, Reason.BAD_ROW)
    assert "--duration, or a column duration_s" in reject.detail


def test_chapters_of_many_sources_have_ids_and_lengths(chapters):
    """With a column `id`, a chapter ends where the next one of its own source begins."""
    found = chapters(
        "id\tstart\ttext\tduration_s\n-a\t0:00\tWood\t\nb\t0:05\tWood\t25\n-a\t0:10\tSponge\t30\n\t0:00\tWood\t9\n"
    )
    assert [(clip.id, clip.row, clip.start_s) for clip in found.clips] == [
        ("-a", 1, 0.0),
        ("b", 2, 5.0),
        ("b", 2, 15.0),
        ("-a", 3, 10.0),
        ("-a", 3, 20.0),
    ]
    assert [(reject.row, reject.reason) for reject in found.rejects] == [(4, Reason.BAD_ID)]


@pytest.mark.parametrize(
    ("text", "action", "materials", "flags"),
    [
        ("wood  SCRATCHING", 1, ["Wood"], ()),
        ("Tapping", 0, [], ()),
        ("Wood Brush Tapping", 2, ["Wood"], ()),
        ("Wood+Sponge tapping", 0, ["Sponge", "Wood"], ()),
        ("Gong + Wood", UNKNOWN, ["Wood"], ("unknown_material", *UNKNOWN_EVENTS.values())),
        ("Gong Tapping", 0, [], ("unknown_material",)),
    ],
)
def test_texts_are_read_with_the_vocabularies(chapters, text, action, materials, flags):
    """Case and blanks make no difference, the longest action counts, and a material that is not listed is a flag."""
    (clip,) = chapters(f"start\ttext\n0\t{text}\n", duration_s=10).clips
    assert clip.labels["action"] == (action,)
    assert [MATERIALS[id] for id in clip.labels["material"]] == materials
    assert clip.flags == flags


@pytest.mark.parametrize(
    ("row", "reason", "said"),
    [
        ("0:30\tGong", Reason.NO_EVENT, "'Gong' ends with no action"),
        ("0:30\t", Reason.BAD_ROW, "text is empty"),
        ("half past\tWood", Reason.BAD_ROW, "expected a time such as 01:30"),
        ("0:55\tWood", Reason.TOO_SHORT, "from 55 to 60 s"),
    ],
)
def test_a_row_that_is_no_chapter_is_rejected_alone(chapters, row, reason, said):
    """It has its reason, and the last row is cut as ever."""
    found = chapters(f"start\ttext\n0:00\tPreview\n{row}\n1:00\tWood\n", duration_s=70)
    assert [clip.row for clip in found.clips] == [3]
    assert [(reject.row, reject.reason) for reject in found.rejects] == [(1, Reason.NO_EVENT), (2, reason)]
    assert said in found.rejects[1].detail


def test_chapters_that_go_back_in_time_are_rejected(chapters):
    """Neither the row after which the list goes back nor the one that begins too early overlaps another."""
    found = chapters("start\ttext\n0:00\tWood\n1:00\tSponge\n0:30\tWood\n2:00\tWood\n", duration_s=130)
    assert {clip.row for clip in found.clips} == {1, 4}
    back, early = found.rejects
    assert (back.row, early.row) == (2, 3)
    assert "row 3 begins at 30 s" in back.detail
    assert "row 2, which stands before it, at 60 s" in early.detail


def test_a_chapter_before_one_whose_start_cannot_be_read_has_no_end(chapters):
    """It is rejected too, and not made to reach over the other."""
    found = chapters("start\ttext\n0:00\tWood\n?\tSponge\n1:00\tWood\n", duration_s=70)
    assert [clip.row for clip in found.clips] == [3]
    assert "row 2 begins, whose start cannot be read" in found.rejects[0].detail


def test_what_contradicts_itself_is_an_error(tmp_path, chapters, vocabularies):
    """A vocabulary that is missing, empty or repeats itself; a length for many sources; two lengths for one."""
    path = tmp_path / "video.tsv"
    path.write_text("start\ttext\n0\tWood\n")
    with pytest.raises(UsageError, match=r"--also materials=materials\.txt"):
        read_annotations(path, AnnotationRequest(also={"actions": vocabularies["actions"]}))
    with pytest.raises(UsageError, match="the file has 2; give a column duration_s"):
        chapters("id\tstart\ttext\na\t0\tWood\nb\t0\tWood\n", duration_s=10)
    with pytest.raises(DataError, match="'a' has the durations 10 s and, in row 2, 20 s"):
        chapters("id\tstart\ttext\tduration_s\na\t0\tWood\t10\na\t5\tWood\t20\n")
    Path(vocabularies["materials"]).write_text("Wood\nwood\n")
    with pytest.raises(DataError, match="line 2: 'wood' stands in an earlier line"):
        chapters("start\ttext\n0\tWood\n")
    Path(vocabularies["materials"]).write_text("\n")
    with pytest.raises(DataError, match="no class"):
        chapters("start\ttext\n0\tWood\n")
