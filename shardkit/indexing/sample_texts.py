"""What a sample's json, cls and txt members say: labels, columns, split. Texts only; ids come once all are known."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardkit.annotations.labels import is_id
from shardkit.clip import Scalar
from shardkit.errors import UsageError
from shardkit.indexing.samples import Sample
from shardkit.storage.files import read_bytes
from shardkit.taxonomy import UNKNOWN

CLS = "cls"
"""Label set of the `cls` members."""
LARGEST_INT = (1 << 63) - 1
_SPLIT_WORDS = re.compile(r"(?:^|[/_.-])(train|val|valid|validation|dev|test|eval)(?=[/_.-]|[0-9]|$)")
_LABEL_FIELD = re.compile(r"json\.(.+)")
_SHOWN = 60

Said = str | list[str] | None
"""A class; several; or none that is known."""


class UnreadableTextError(Exception):
    """A member of a sample says nothing that can be read; never leaves this package."""


@dataclass(frozen=True, slots=True)
class SampleTexts:
    """What a sample says of itself."""

    labels: Mapping[str, Said]
    columns: Mapping[str, Scalar]
    split: str | None

    def to_text(self) -> str:
        """Labels and columns as they stand in a part."""
        return json.dumps([self.labels, self.columns], ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class TextRules:
    """What is asked of the texts."""

    label_fields: Mapping[str, str]
    """Label set to field of the json member, with dots into objects."""
    classes: Sequence[str] | None = None
    """Names of the classes that `cls` members number; None: as many as there are."""

    @classmethod
    def of(cls, labels: Mapping[str, str], classes: Sequence[str] | None) -> "TextRules":
        """The rules that options give.

        Args:
            labels: Label set to `json.FIELD`.
            classes: Names of classes.

        Raises:
            UsageError: A label is no field of a json member, or the classes are not as many names.
        """
        fields = {}
        for name, said in labels.items():
            match = _LABEL_FIELD.fullmatch(said)
            if match is None or not name or name == CLS:
                raise UsageError(
                    f"label {name}={said}: NAME=json.FIELD is needed, such as instrument=json.label (the label set "
                    f"{CLS!r} comes from cls members by itself)"
                )
            fields[name] = match[1]
        if classes is not None and (not classes or len(set(classes)) < len(classes)):
            raise UsageError(f"{len(classes)} classes, {len(set(classes))} of them distinct: a name for each is needed")
        return cls(fields, classes)

    def read(self, sample: Sample) -> SampleTexts:
        """What a sample says.

        Raises:
            UnreadableTextError: A member cannot be read, or says what cannot be a label.
        """
        fields = _object(sample.text("json"))
        labels = {name: _label(fields, field) for name, field in self.label_fields.items()}
        if (number := sample.text("cls")) is not None:
            labels[CLS] = self._class(_text(number, "cls").strip())
        columns = {name: _scalar(value) for name, value in fields.items() if not isinstance(value, list | dict)}
        split = columns.pop("split", None)
        if (text := sample.text("txt")) is not None:
            columns["txt"] = _text(text, "txt")
        return SampleTexts(labels, columns, None if split is None else str(split))

    def _class(self, said: str) -> Said:
        if not said or said == str(UNKNOWN):
            return None
        if self.classes is None or said in self.classes:
            return said
        if not is_id(said) or int(said) >= len(self.classes):
            raise UnreadableTextError(f"cls is {said[:_SHOWN]!r}, and {len(self.classes)} classes are named")
        return self.classes[int(said)]


def read_classes(path: Path) -> tuple[str, ...]:
    """Names of classes, one a line.

    Raises:
        StorageError: The file cannot be read.
        UsageError: It is no text.
    """
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path}: byte {exc.start:,} is not UTF-8 text; one class name a line is needed") from exc
    return tuple(line.strip() for line in lines if line.strip())


def split_of_name(name: str) -> str:
    """The split that a shard's path names, such as `train` in `train/000.tar` or `set-train-000.tar`; "" for none."""
    words = _SPLIT_WORDS.findall(name)
    return words[-1] if words else ""


def _object(data: bytes | None) -> Mapping[str, Any]:
    if data is None:
        return {}
    text = _text(data, "json")
    try:
        content = json.loads(text)
        # Half a surrogate pair is no text, and an escape can say one.
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise UnreadableTextError(f"json cannot be read ({exc})") from exc
    return content if isinstance(content, dict) else {}


def _text(data: bytes, member: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UnreadableTextError(f"{member} is not UTF-8 text (byte {exc.start:,})") from exc


def _scalar(value: Any) -> Scalar:
    is_long = isinstance(value, int) and abs(value) > LARGEST_INT
    scalar: Scalar = str(value) if is_long else value
    return scalar


def _label(fields: Mapping[str, Any], path: str) -> Said:
    value: Any = fields
    for name in [path] if path in fields else path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, list):
        said = [_class_text(each, path) for each in value]
        return [text for text in said if text is not None]
    return _class_text(value, path)


def _class_text(value: Any, path: str) -> str | None:
    if value is None or value == UNKNOWN:
        return None
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # data frames turn integers with gaps into floats
    if isinstance(value, int | str):
        return str(value)
    raise UnreadableTextError(f"json.{path} is {json.dumps(value)[:_SHOWN]}, which is no class")
