"""LLP's annotations: the real audio events, and files as the data set has them."""

from collections import Counter
from pathlib import Path

import pytest

from shardkit.annotations import AnnotationRequest, read_annotations
from shardkit.annotations.avvp_classes import CLASSES
from shardkit.clip import Event, Reason
from shardkit.errors import UsageError

RELEASED = Path(__file__).parents[2] / "../shared/data/annotations/AVVP_eval_audio.csv"
EVENTS = "filename\tonset\toffset\tevent_labels\n"
WEAK = "filename\tevent_labels\n"
SPEECH, DOG, CAT = (CLASSES.index(name) for name in ("Speech", "Dog", "Cat"))


@pytest.fixture(scope="module")
def released():
    """The real audio events, read alone."""
    if not RELEASED.exists():
        pytest.skip("../shared/data/annotations/AVVP_eval_audio.csv is not there")
    return read_annotations(RELEASED)


@pytest.fixture(scope="module")
def released_rows():
    """The cells of every row of the real file."""
    if not RELEASED.exists():
        pytest.skip("../shared/data/annotations/AVVP_eval_audio.csv is not there")
    return [line.split("\t") for line in RELEASED.read_text("utf-8").splitlines()[1:]]


def avvp(tmp_path, main, **files):
    """The annotation set of files with these texts; of those with a role, a name is made."""
    names = {"train": "AVVP_train.csv", "test": "AVVP_test_pd.csv", "val": "AVVP_val_pd.csv"}
    names |= {"audio": "AVVP_eval_audio.csv", "visual": "AVVP_eval_visual.csv"}
    paths = {role: tmp_path / names[role] for role in files}
    for role, text in files.items():
        paths[role].write_text(text, encoding="utf-8")
    also = {role: str(path) for role, path in paths.items() if role != main}
    return read_annotations(paths[main], AnnotationRequest(also=also))


def test_every_real_row_is_accounted_for(released):
    """4,131 rows: 1,841 clips of their first events, 2,266 events that join them, and 24 rejects."""
    assert (released.format, released.row_count) == ("avvp", 4131)
    assert (len(released.clips), len(released.joined_rows), len(released.rejects)) == (1841, 2266, 24)
    rows = [*(entry.row for entry in (*released.clips, *released.rejects)), *released.joined_rows]
    assert sorted(rows) == list(range(1, 4132))
    assert sum(len(clip.events) for clip in released.clips) == 1841 + 2266


def test_the_faults_of_the_real_file_are_rejected_with_their_reasons(released, released_rows):
    """10 rows with truncated ids, 5 zero-length events (one of them truncated), 1 reversed, 8 repeated, 1 long span."""
    by_reason = {
        reason: {each.row for each in released.rejects if each.reason is reason}
        for reason in (Reason.BAD_ID, Reason.BAD_ROW, Reason.DUPLICATE)
    }
    assert Counter(reject.reason for reject in released.rejects) == {
        Reason.BAD_ID: 10,
        Reason.BAD_ROW: 6,
        Reason.DUPLICATE: 8,
    }
    numbered = list(enumerate(released_rows, start=1))
    zero = {row for row, (_, onset, offset, _) in numbered if float(onset) == float(offset)}
    reversed_ = {row for row, (_, onset, offset, _) in numbered if float(onset) > float(offset)}
    truncated = {row for row, (name, *_) in numbered if len(name.rsplit("_", 2)[0]) != 11}
    (typo,) = (row for row, (name, *_) in numbered if name.endswith("_30_400"))
    assert (len(zero), len(reversed_), len(truncated)) == (5, 1, 10)
    assert by_reason[Reason.BAD_ID] == truncated
    assert by_reason[Reason.BAD_ROW] == (zero | reversed_ | {typo}) - truncated
    firsts = {}
    repeated = {row for row, cells in numbered if firsts.setdefault(tuple(cells), row) != row}
    assert by_reason[Reason.DUPLICATE] == repeated


def test_real_clips_lose_a_bad_event_and_say_so(released, released_rows):
    """The clips of the rows with zero-length or reversed events are flagged; one of these has no other event."""
    bad = {
        reject.id.rsplit("_", 2)[0]
        for reject in released.rejects
        if reject.reason is Reason.BAD_ROW and not reject.id.endswith("_30_400")
    }
    assert {clip.id for clip in released.clips if "bad_event" in clip.flags} == bad & {
        clip.id for clip in released.clips
    }
    assert sum("bad_event" in clip.flags for clip in released.clips) == 4
    (flagged,) = [clip for clip in released.clips if clip.id == "8DF2PxdT5tE"]
    rows = [cells for cells in released_rows if cells[0].startswith("8DF2PxdT5tE")]
    assert len(flagged.events) == len(rows) - 1


def test_real_clips_have_span_events_and_labels_of_their_rows(released, released_rows):
    """Id and span are those of the file name, events those of the rows, and labels the classes of the events."""
    for clip in released.clips:
        name, onset, offset, label = released_rows[clip.row - 1]
        assert name == f"{clip.id}_{clip.start_s:.0f}_{clip.end_s:.0f}"
        assert clip.events[0] == Event(float(onset), float(offset), CLASSES.index(label), "audio")
        assert clip.labels["events"] == tuple(sorted({event.class_id for event in clip.events}))
    (label_set,) = released.label_sets
    assert (label_set.kind, label_set.leaf.classes, released.event_classes) == ("multi", CLASSES, CLASSES)


def test_the_official_list_is_25_classes_in_its_order(released_rows):
    """Ids are places in the authors' list, and the real file knows no class beside it."""
    assert (len(CLASSES), CLASSES[0], CLASSES[13], CLASSES[24]) == (25, "Speech", "Violin_fiddle", "Clapping")
    assert {label for *_, label in released_rows} == set(CLASSES)


def test_events_of_both_modalities_join_the_clips_of_the_weak_files(tmp_path):
    """Labels and splits are the weak files', events the eval files'; rows are numbered on through all of them."""
    found = avvp(
        tmp_path,
        "train",
        train=WEAK + "a_bcdefgh_1_0_10\tDog,Speech\n",
        val=WEAK + "-bbbbbbbbbb_30_40\tCat\n",
        audio=EVENTS + "-bbbbbbbbbb_30_40\t0\t4\tDog\n-bbbbbbbbbb_30_40\t6\t7\tCat\n",
        visual=EVENTS + "-bbbbbbbbbb_30_40\t1\t10\tCat\n",
    )
    train, val = found.clips
    assert (train.id, train.start_s, train.end_s, train.split, train.events) == ("a_bcdefgh_1", 0.0, 10.0, "train", ())
    assert train.labels == {"events": (SPEECH, DOG)}
    assert (val.row, val.id, val.split, val.labels) == (2, "-bbbbbbbbbb", "val", {"events": (CAT,)})
    assert val.events == (
        Event(0.0, 4.0, DOG, "audio"),
        Event(6.0, 7.0, CAT, "audio"),
        Event(1.0, 10.0, CAT, "visual"),
    )
    assert (found.row_count, found.joined_rows, found.rejects) == (5, (3, 4, 5), ())
    assert dict(found.also_rows) == {"val": 1, "audio": 2, "visual": 1}


def test_rows_are_numbered_from_the_annotation_file_on(tmp_path):
    """The annotation file's rows come first, whatever its role; a reject of another file says which row of it it is."""
    found = avvp(
        tmp_path,
        "audio",
        audio=EVENTS + "aaaaaaaaaaa_0_10\t0\t4\tDog\n",
        test=WEAK + "aaaaaaaaaaa_0_10\tDog\ncut_0_10\tDog\n",
    )
    assert [(clip.row, clip.split) for clip in found.clips] == [(2, "test")]
    assert found.joined_rows == (1,)
    (reject,) = found.rejects
    assert (reject.row, reject.id, reject.reason) == (3, "cut_0_10", Reason.BAD_ID)
    assert reject.detail.startswith("AVVP_test_pd.csv, row 2: ")


@pytest.mark.parametrize(
    ("row", "reason", "said", "flags"),
    [
        ("aaaaaaaaaaa_0_10\t3\t3\tDog", Reason.BAD_ROW, "3 to 3 s", ("bad_event",)),
        ("aaaaaaaaaaa_0_10\t3\t2\tDog", Reason.BAD_ROW, "3 to 2 s", ("bad_event",)),
        ("aaaaaaaaaaa_0_10\t3\t11\tDog", Reason.BAD_ROW, "3 to 11 s", ("bad_event",)),
        ("aaaaaaaaaaa_0_10\t3\t\tDog", Reason.BAD_ROW, "empty", ("bad_event",)),
        ("aaaaaaaaaaa_0_10\t3\t4\tGong", Reason.BAD_ROW, "none of LLP's 25", ("bad_event",)),
        ("aaaaaaaaaaa_0_10\t0\t2\tCat", Reason.DUPLICATE, "as in row 1", ()),
        ("aaaaaaaaaaa_0_100\t0\t2\tCat", Reason.BAD_ROW, "0 to 100 s", ()),
        ("aaaaaaaaaa_0_10\t0\t2\tCat", Reason.BAD_ID, "cut off", ()),
        ("bbbbbbbbbbb_0_10\t0\t2\tCat", Reason.BAD_ROW, "no weak file", ()),
        ("aaaaaaaaaaa_0_10\t0\t2", Reason.BAD_ROW, "3 fields", ()),
    ],
)
def test_a_bad_event_is_rejected_alone(tmp_path, row, reason, said, flags):
    """A row that is no event is rejected with its reason; its clip keeps the others, and is flagged."""
    found = avvp(
        tmp_path,
        "test",
        test=WEAK + "aaaaaaaaaaa_0_10\tCat\n",
        audio=f"{EVENTS}aaaaaaaaaaa_0_10\t0\t2\tCat\n{row}\naaaaaaaaaaa_0_10\t8\t9\tCat\n",
    )
    (clip,) = found.clips
    assert [event.start_s for event in clip.events] == [0.0, 8.0]
    assert clip.flags == ("unknown_visual_events", *flags)
    (reject,) = found.rejects
    assert (reject.row, reject.reason) == (3, reason)
    assert said in reject.detail


@pytest.mark.parametrize(("name", "text"), [("AVVP_dataset_full.csv", WEAK), ("AVVP_eval.csv", EVENTS)])
def test_a_name_that_does_not_say_what_the_file_is_is_refused(tmp_path, name, text):
    """Split or modality are read off the name; `eval` says nothing of `val`, and the error tells to rename."""
    path = tmp_path / name
    path.write_text(text + "aaaaaaaaaaa_0_10\t" + ("0\t1\t" if text == EVENTS else "") + "Cat\n")
    with pytest.raises(UsageError, match="read off its name, and that says none; rename it"):
        read_annotations(path)


def test_files_of_the_wrong_role_are_refused(tmp_path):
    """A weak file as audio events, a role twice, and a role that is none are errors that name the file."""
    weak = WEAK + "aaaaaaaaaaa_0_10\tCat\n"
    with pytest.raises(UsageError, match=r"AVVP_eval_audio\.csv: a file of audio has filename, onset, offset"):
        avvp(tmp_path, "test", test=weak, audio=weak)
    test = tmp_path / "AVVP_test_pd.csv"
    with pytest.raises(UsageError, match="this is the file of test"):
        read_annotations(test, AnnotationRequest(also={"test": str(test)}))
    with pytest.raises(UsageError, match=r"--also sound=.*train, val, test, audio, visual"):
        read_annotations(test, AnnotationRequest(also={"sound": str(test)}))


def test_it_is_flagged_whose_events_are_not_known(tmp_path):
    """Training clips have weak labels only; a test clip lacks the modality whose file is not given."""
    weak = "aaaaaaaaaaa_0_10\tSpeech\n"
    found = avvp(
        tmp_path,
        "train",
        train=WEAK + weak,
        test=WEAK + weak.replace("a", "b"),
        audio=EVENTS + "bbbbbbbbbbb_0_10\t0\t4\tSpeech\n",
    )
    unknown = ("unknown_audio_events", "unknown_visual_events")
    assert [clip.flags for clip in found.clips] == [unknown, unknown[1:]]


def test_the_real_audio_events_alone_say_nothing_of_pictures(released):
    """All of its clips are flagged so."""
    assert all("unknown_visual_events" in clip.flags for clip in released.clips)
    assert not any("unknown_audio_events" in clip.flags for clip in released.clips)
