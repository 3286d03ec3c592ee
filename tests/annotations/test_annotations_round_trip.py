import csv
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.annotations import read_annotations

# Text with a letter first: text that looks like a number is a number in a CSV, and text in JSON.
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"], exclude_characters="|"),
    max_size=6,
).map(lambda text: "w" + text)
NOTES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8).map(lambda text: "n" + text)
SECONDS = st.integers(0, 10**8).map(lambda ms: ms / 1000)


FIELDS = (
    *("id", "media", "start_s", "end_s", "label", "labels", "level_1", "events", "split"),
    *("count", "share", "note"),
)


def maybe(strategy):
    """The strategy's values, or None."""
    return st.none() | strategy


@st.composite
def row(draw, classes):
    """One row with every field of a table; a few have a mangled id, a reversed span or a reversed event."""
    start_s, length_s = draw(maybe(SECONDS)), draw(st.integers(-1, 100))
    end_s = draw(maybe(st.just((start_s or 0.0) + length_s)))
    ends = st.tuples(st.integers(0, 2), st.integers(0, 101))
    modalities = st.sampled_from(["audio", "visual", "av"])
    events = [
        {"start_s": start / 2, "end_s": end / 2, "class": draw(classes), "modality": draw(modalities)}
        for start, end in draw(st.lists(ends, max_size=2))
    ]
    ids = st.one_of(WORDS, WORDS, WORDS.map(lambda word: "-" + word), st.just("#NAME?"), st.none())
    values = (
        draw(ids),
        draw(maybe(WORDS.map(lambda word: f"a/{word}.mp4"))),
        start_s,
        None if end_s is not None and end_s < 0 else end_s,
        draw(maybe(classes)),
        draw(st.lists(WORDS, max_size=3)),
        draw(maybe(classes)),
        events,
        draw(maybe(st.sampled_from(["train", "test"]))),
        draw(maybe(st.integers(-(2**63), 2**63 - 1))),
        draw(maybe(st.floats(allow_nan=False, allow_infinity=False))),
        draw(maybe(NOTES)),
    )
    return dict(zip(FIELDS, values, strict=True))


@st.composite
def records(draw):
    """Rows of one table; its label columns hold either names or ids."""
    classes = draw(st.sampled_from([WORDS, st.integers(0, 9).map(str)]))
    rows = draw(st.lists(row(classes), min_size=1, max_size=6))
    rows[0]["share"] = 0.5  # a column of whole floats is one of integers in a CSV
    return rows


def write_delimited(path: Path, rows: list, delimiter: str) -> None:
    """The rows as delimited text, as a careful hand writes them."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(FIELDS)
        for record in rows:
            flat = record | {"labels": "|".join(record["labels"]), "events": json.dumps(record["events"])}
            writer.writerow("" if value is None else value for value in flat.values())


def write_all(folder: Path, rows: list) -> list[Path]:
    """The same rows as CSV, TSV, JSONL and Parquet."""
    paths = [folder / f"table.{suffix}" for suffix in ("csv", "tsv", "jsonl", "parquet")]
    write_delimited(paths[0], rows, ",")
    write_delimited(paths[1], rows, "\t")
    text = "\n".join(json.dumps(record, ensure_ascii=False) for record in rows)
    paths[2].write_text(text, encoding="utf-8")
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), paths[3])
    return paths


@given(records())
@settings(deadline=None, max_examples=80)
def test_the_kind_of_file_makes_no_difference(rows):
    """CSV, TSV, JSONL and Parquet of the same rows give the same set, every row accounted for."""
    with tempfile.TemporaryDirectory() as folder:
        of_csv, *others = [read_annotations(path) for path in write_all(Path(folder), rows)]
    assert others == [of_csv] * 3
    entries = (*of_csv.clips, *of_csv.rejects)
    assert sorted(entry.row for entry in entries) == list(range(1, len(rows) + 1))


@given(records())
@settings(deadline=None, max_examples=40)
def test_clips_say_what_the_rows_say(rows):
    """Ids read back through the label sets are the names in the rows."""
    with tempfile.TemporaryDirectory() as folder:
        found = read_annotations(write_all(Path(folder), rows)[2])
    label, labels, level = found.label_sets
    for clip in found.clips:
        said = rows[clip.row - 1]
        (id,), (top,) = clip.labels["label"], clip.labels["level"]
        assert (label.leaf.classes[id] if id >= 0 else None) == said["label"]
        assert (level.leaf.classes[top] if top >= 0 else None) == said["level_1"]
        assert {labels.leaf.classes[place] for place in clip.labels["labels"]} == set(said["labels"])
        named = [found.event_classes[event.class_id] for event in clip.events]
        assert named == [event["class"] for event in said["events"]]
        assert (clip.start_s, clip.end_s, clip.split) == (said["start_s"], said["end_s"], said["split"])
        assert clip.columns["count"] == said["count"]
