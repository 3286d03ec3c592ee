"""What each task makes the target of a batch, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from spelled_clips import BACKGROUND, CLASSES, spelled_clips

import shardkit
from shardkit.errors import UsageError
from shardkit.tasks import AVEL, AVVP, CML, Classification, task_of
from shardkit.taxonomy import LabelSet, Level

CLIP_OF = {clip.name: clip for clip in spelled_clips()}


def _clips(batch):
    return [CLIP_OF[key.split("_")[0]] for key in batch.keys]


@pytest.fixture(scope="module")
def manifest(spelled):
    """Of the spelled clips."""
    return shardkit.open(spelled).manifest


def test_tasks_are_reached_lazily():
    """`shardkit.tasks` is there without an import of its own."""
    assert shardkit.tasks.task_of is task_of
    assert "tasks" in dir(shardkit)


def test_classification_of_the_only_label_set_is_class_ids(spelled_batches):
    """int64 [B], -100 where the class is unknown."""
    for batch in spelled_batches(task="classification", label="label"):
        expected = [-100 if clip.number == 11 else clip.class_id for clip in _clips(batch)]
        assert batch.target.tolist() == expected
        assert batch.target.dtype == torch.int64


def test_classification_of_a_multi_label_set_is_zeros_and_ones(spelled_batches):
    """float32 [B, C]."""
    for batch in spelled_batches(task="classification", label="labels"):
        assert torch.equal(batch.target, batch.labels["labels"].float())


@pytest.mark.parametrize(
    ("task", "column"),
    [
        (Classification("instrument"), 1),
        (Classification("instrument", 0), 0),
        (Classification(level="family"), 0),
        (Classification(level="leaf"), 1),
    ],
)
def test_classification_takes_any_level_of_a_hierarchy(spelled_batches, manifest, task, column):
    """By number or name; the deepest one if none is named. A level's name says which label set is meant."""
    levels = (Level("family", ("wind", "string")), Level("leaf", ("flute", "harp", "lute")))
    instrument = LabelSet("instrument", "hierarchy", levels, ((0, 1, 1),))
    bound = task.bind(replace(manifest, label_sets=(*manifest.label_sets, instrument)))
    assert bound.classes == levels[column].classes
    ids = torch.tensor([[0, 0], [1, 2], [-100, -100]])
    batch = replace(spelled_batches(task="avel")[0], labels={"instrument": ids})
    assert torch.equal(bound(batch).target, ids[:, column])


def test_full_avel_is_the_class_of_each_segment(spelled_batches):
    """int64 [B, N] with background last: the segment labels."""
    for batch in spelled_batches(task="avel"):
        assert batch.target is batch.segment_labels
        assert BACKGROUND in batch.target


def test_weak_avel_is_the_clips_class_among_event_classes(spelled_batches, manifest):
    """int64 [B], C for clips that are known to be background, -100 for others without a class."""
    for batch in spelled_batches(task="avel", supervision="weak"):
        expected = [-100 if clip.number == 11 else clip.class_id for clip in _clips(batch)]
        assert batch.target.tolist() == expected
        task = AVEL("weak").bind(manifest)
        background = replace(batch, background=torch.tensor([clip.number == 11 for clip in _clips(batch)]))
        assert task(background).target.tolist() == [CLASSES if one == -100 else one for one in expected]


def test_label_sets_and_event_classes_are_matched_by_name(spelled_batches, manifest):
    """A label set that numbers its classes another way still says the right event class, in both weak tasks."""
    batch = spelled_batches(task="avel")[0]
    other = tuple(reversed(manifest.event_classes))
    sets = [
        replace(one, kind=kind, levels=(replace(one.levels[0], classes=manifest.event_classes),))
        for one, kind in zip(manifest.label_sets, ("single", "multi"), strict=True)
    ]
    changed = replace(manifest, event_classes=other, label_sets=tuple(sets))
    ids = torch.tensor([[0], [3], [-100], [1]])
    present = torch.eye(4, dtype=torch.uint8)
    batch = replace(batch, labels={"label": ids, "labels": present}, background=torch.zeros(4, dtype=torch.bool))
    assert AVEL("weak").bind(changed)(batch).target.tolist() == [3, 0, -100, 2]
    assert torch.equal(AVVP("weak").bind(changed)(batch).target, present.float().flip(1))


def test_full_avvp_is_what_is_heard_and_what_is_seen(spelled_batches):
    """float32 [B, N, 2, C], audio first."""
    for batch in spelled_batches(task="avvp"):
        assert batch.target.shape == (8, 10, 2, CLASSES)
        assert torch.equal(batch.target[:, :, 0], batch.segment_targets["audio"])
        assert torch.equal(batch.target[:, :, 1], batch.segment_targets["visual"])


def test_cml_is_the_seconds_of_the_event(spelled_batches):
    """Bool [B, N]: where a class is both heard and seen."""
    for batch in spelled_batches(task="cml"):
        assert batch.target.dtype == torch.bool
        assert torch.equal(batch.target, (batch.segment_labels >= 0) & (batch.segment_labels < BACKGROUND))


def test_a_task_of_ones_own_sets_the_target(spelled):
    """Whatever has the three members of a task is one; the loader binds it and keeps it."""

    class Seconds:
        needs_segments = needs_events = True

        def bind(self, manifest):
            self.name = manifest.name
            return self

        def __call__(self, batch):
            return replace(batch, target=batch.segment_count.float())

    loader = shardkit.loader(spelled, batch_size=8, workers=1, worker_type="thread", task=Seconds())
    assert loader.task.name == "clips"
    with loader:
        batch = next(iter(loader))
        assert batch.target.tolist() == batch.segment_count.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": AVEL}, r"task=<class.*such as AVEL\(\)"),
        ({"task": 3}, "task=3"),
        ({"task": "segmentation"}, "'classification', 'avel', 'avvp', 'cml'"),
        ({"task": "avel", "supervision": "half"}, "'full' or 'weak'"),
        ({"task": "cml", "supervision": "weak"}, "no weak form"),
        ({"task": "classification", "supervision": "weak", "label": "label"}, "no weak form"),
        ({"task": "avel", "level": 1}, "level=1 is for classification"),
        ({"task": "avel", "label": "label"}, "takes its targets from events"),
        ({"supervision": "weak"}, "task is None: name one"),
        ({"task": CML(), "label": "label"}, "one of your own has them already"),
        ({"task": "classification"}, r"no label set was named.*'label' \(single\), 'labels' \(multi\)"),
        ({"task": "classification", "label": "colour"}, "label='colour'.*'label', 'labels' will do"),
        ({"task": "classification", "label": "label", "level": 4}, "no level 4"),
        ({"task": "classification", "label": "labels", "level": 0}, "is multi, it has no levels"),
        ({"task": "classification", "level": "level_9"}, "one with level 'level_9'"),
        ({"task": "avvp", "supervision": "weak"}, r"\(multi\) whose classes are event classes.*none of them will do"),
        ({"task": "avel", "supervision": "weak", "label": "labels"}, "label='labels'.*'label' will do"),
    ],
)
def test_what_a_data_set_cannot_be_asked_is_refused(spelled, options, message):
    """The message names what there is."""
    with pytest.raises(UsageError, match=message):
        shardkit.loader(spelled, batch_size=4, **options)


@pytest.mark.parametrize("task", ["avel", "avvp", "cml"])
def test_tasks_about_events_need_them(manifest, task):
    """A data set without event classes is refused."""
    with pytest.raises(UsageError, match=r"about events.*none"):
        task_of(task).bind(replace(manifest, event_classes=()))


@pytest.mark.parametrize("task", [Classification(), AVEL("weak"), AVVP("weak")])
def test_a_task_that_is_not_bound_says_so(spelled_batches, task):
    """What hangs on a data set's label sets is not known before."""
    with pytest.raises(UsageError, match=r"bind|bound"):
        task(spelled_batches(task="avel")[0])
