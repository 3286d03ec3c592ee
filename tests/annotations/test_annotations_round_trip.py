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
NOTES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8).map(
    lambda text: "n" + text
)
SECONDS = st.integers(0, 10**8).map(lambda ms: ms / 1000)


@st.composite
def records(draw):
    """Rows with every field of a table; a label column holds either names or ids."""
    classes = draw(st.sampled_from([WORDS, st.integers(0, 9).map(str)]))
    row = st.fixed_dictionaries(
        {
            "id": st.one_of(st.none(), WORDS, st.just("#NAME?"), WORDS.map(lambda word: "-" + word)),
            "media": st.one_of(st.none(), WORDS.map(lambda word: f"a/{word}.mp4")),
            "start_s": st.one_of(st.none(), SECONDS),
            "end_s": st.one_of(st.none(), SECONDS),
            "label": st.one_of(st.none(), classes),
            "labels": st.lists(WORDS, max_size=3),
            "level_1": st.one_of(st.none(), classes),
            "events": st.lists(
                st.fixed_dictionaries(
                    {
                        "start_s": SECONDS,
                        "end_s": SECONDS,
                        "class": classes,
                        "modality": st.sampled_from(["audio", "visual", "av"]),
                    },
                ),
                max_size=2,
            ),
            "split": st.one_of(st.none(), st.sampled_from(["train", "test"])),
            "count": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            "share": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
            "note": st.one_of(st.none(), NOTES),
        },
    )
    rows = draw(st.lists(row, min_size=1, max_size=6))
    # A column of whole floats is one of integers in a CSV.
    rows[0]["share"] = 0.5
    return rows


def write_delimited(path: Path, rows: list, delimiter: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(rows[0])
        for row in rows:
            flat = row | {"labels": "|".join(row["labels"]), "events": json.dumps(row["events"])}
            writer.writerow("" if value is None else value for value in flat.values())


def write_all(folder: Path, rows: list) -> list[Path]:
    paths = [folder / f"table.{suffix}" for suffix in ("csv", "tsv", "jsonl", "parquet")]
    write_delimited(paths[0], rows, ",")
    write_delimited(paths[1], rows, "\t")
    paths[2].write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), paths[3])
    return paths


@given(records())
@settings(deadline=None, max_examples=80)
def test_the_kind_of_file_makes_no_difference(rows):
    """CSV, TSV, JSONL and Parquet with the same content give the same annotation set, every row accounted for."""
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
        row = rows[clip.row - 1]
        (id,), (top,) = clip.labels["label"], clip.labels["level"]
        assert (label.leaf.classes[id] if id >= 0 else None) == row["label"]
        assert (level.leaf.classes[top] if top >= 0 else None) == row["level_1"]
        assert {labels.leaf.classes[place] for place in clip.labels["labels"]} == set(row["labels"])
        named = [found.event_classes[event.class_id] for event in clip.events]
        assert named == [event["class"] for event in row["events"]]
        assert (clip.start_s, clip.end_s, clip.split) == (row["start_s"], row["end_s"], row["split"])
        assert clip.columns["count"] == row["count"]
