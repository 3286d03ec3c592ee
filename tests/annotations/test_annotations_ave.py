"""AVE's annotations: the real file, and lines as it has them."""

from collections import Counter
from pathlib import Path

import pytest

from shardkit.annotations import AnnotationRequest, read_annotations
from shardkit.clip import Event, Reason
from shardkit.errors import UsageError
from shardkit.packing.keys import clip_keys

RELEASED = Path(__file__).parents[2] / "../shared/data/annotations/AVE-Annotations.txt"


@pytest.fixture(scope="module")
def released():
    """The real file, read."""
    if not RELEASED.exists():
        pytest.skip("../shared/data/annotations/AVE-Annotations.txt is not there")
    return read_annotations(RELEASED)


@pytest.fixture(scope="module")
def lines():
    """The fields of every line of the real file."""
    if not RELEASED.exists():
        pytest.skip("../shared/data/annotations/AVE-Annotations.txt is not there")
    return [line.split("&") for line in RELEASED.read_text("utf-8").splitlines()]


def ave(tmp_path, text, name="Annotations.txt"):
    """The annotation set of a file with this text."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_annotations(path)


def test_every_real_row_is_a_clip_of_ten_seconds(released, lines):
    """4,143 rows of 28 classes are 4,143 clips: the whole of a video that was cut to ten seconds."""
    assert released.format == "ave"
    assert (released.row_count, len(released.clips), released.rejects) == (4143, 4143, ())
    assert {(clip.start_s, clip.end_s) for clip in released.clips} == {(0.0, 10.0)}
    assert [clip.id for clip in released.clips] == [id for _, id, *_ in lines]
    assert {clip.columns["Quality"] for clip in released.clips} == {"good"}


def test_classes_are_numbered_as_they_first_appear(released, lines):
    """The 28 classes have the order of the file, in the label set and for events; every clip has its row's."""
    (event,) = released.label_sets
    assert (event.name, event.kind) == ("event", "single")
    assert event.leaf.classes == released.event_classes == tuple(dict.fromkeys(category for category, *_ in lines))
    assert len(event.leaf.classes) == 28
    for clip, (category, *_) in zip(released.clips, lines, strict=True):
        assert event.leaf.classes[clip.labels["event"][0]] == category


def test_each_real_row_has_its_event(released, lines):
    """Start and end of a row are one audio-visual event of its class; 0 to 0 in row 27 is none, and a flag."""
    for clip, (*_, start, end) in zip(released.clips, lines, strict=True):
        (label,) = clip.labels["event"]
        assert clip.events == ((Event(float(start), float(end), label, "av"),) if start != end else ())
    assert [(clip.row, clip.flags) for clip in released.clips if clip.flags] == [(27, ("no_event",))]


def test_repeated_ids_are_clips_with_keys_of_their_own(released):
    """45 ids stand in 91 rows; each row has a key, and the second and third of an id end in _2 and _3."""
    rows = Counter(clip.id for clip in released.clips)
    assert (len(rows), Counter(count for count in rows.values() if count > 1)) == (4097, {2: 44, 3: 1})
    keys = clip_keys(released.clips)
    assert len(set(keys)) == 4143
    assert [key for clip, key in zip(released.clips, keys, strict=True) if clip.id == "0f_iTO5t3hU"] == [
        "0f_iTO5t3hU_0",
        "0f_iTO5t3hU_0_2",
        "0f_iTO5t3hU_0_3",
    ]


def test_a_header_line_is_no_row(tmp_path):
    """The line of names that AVE's archive has is a header, with the same result."""
    rows = "Bark&-aaaaaaaaaa&good&2&5\nGoat&-aaaaaaaaaa&bad&2&5\n"
    with_header = ave(tmp_path, "Category&VideoID&Quality&StartTime&EndTime\r\n" + rows.replace("\n", "\r\n"))
    assert with_header == ave(tmp_path, rows)
    assert [(clip.id, clip.columns["Quality"]) for clip in with_header.clips] == [
        ("-aaaaaaaaaa", "good"),
        ("-aaaaaaaaaa", "bad"),
    ]


@pytest.mark.parametrize(
    ("line", "reason", "said"),
    [
        ("Bark&short&good&0&10", Reason.BAD_ID, "11 letters"),
        ("Bark&#NAME?&good&0&10", Reason.BAD_ID, "spreadsheet"),
        ("&bbbbbbbbbbb&good&0&10", Reason.BAD_ROW, "Category is empty"),
        ("Bark&bbbbbbbbbbb&good&5&5", Reason.BAD_ROW, "5 to 5 s"),
        ("Bark&bbbbbbbbbbb&good&5&3", Reason.BAD_ROW, "5 to 3 s"),
        ("Bark&bbbbbbbbbbb&good&5&11", Reason.BAD_ROW, "5 to 11 s"),
        ("Bark&bbbbbbbbbbb&good&&10", Reason.BAD_ROW, "StartTime is empty"),
        ("Bark&bbbbbbbbbbb&good", Reason.BAD_ROW, "3 fields"),
        ("Bark&aaaaaaaaaaa&good&0&10", Reason.DUPLICATE, "as row 1"),
    ],
)
def test_a_bad_line_is_rejected_alone(tmp_path, line, reason, said):
    """A line that is no clip is rejected with its reason, and the lines around it are clips."""
    found = ave(tmp_path, f"Bark&aaaaaaaaaaa&good&0&10\n{line}\nGoat&ccccccccccc&good&0&10\n")
    assert [clip.row for clip in found.clips] == [1, 3]
    (reject,) = found.rejects
    assert (reject.row, reject.reason) == (2, reason)
    assert said in reject.detail


def test_quotes_and_commas_are_part_of_a_name(tmp_path):
    """AVE has no quoting: what stands between separators is the class."""
    found = ave(tmp_path, 'Male speech, "man" speaking&aaaaaaaaaaa&good&0&10\n')
    assert found.event_classes == ('Male speech, "man" speaking',)


def test_text_that_is_not_aves_is_refused(tmp_path):
    """A .txt file without AVE's separator says how it would be read, and what to call a table."""
    with pytest.raises(UsageError, match=r"Category&VideoID.*name a table \.csv"):
        ave(tmp_path, "Bark,aaaaaaaaaaa,good,0,10\n")
    path = tmp_path / "a.csv"
    path.write_text("VideoID\na\n")
    with pytest.raises(UsageError, match="no column Category, EndTime"):
        read_annotations(path, AnnotationRequest(format="ave"))
