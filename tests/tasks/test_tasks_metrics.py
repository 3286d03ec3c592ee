"""What all metrics of tasks hold: any batches and ranks, no padding, no value of nothing."""

import doctest
import importlib.util
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_inputs import CLIPS, cases

from shardkit import UsageError
from shardkit.tasks.metrics import ClassificationMetrics, CMLMetrics, clip_metric

CASES = cases()
each_metric = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def values_of(case, *batches):
    """What a new metric says after these batches, given as (begin, end)."""
    metric = case.make()
    for begin, end in batches or [(0, CLIPS)]:
        case.feed(metric, begin, end)
    return metric.compute()


@each_metric
@settings(max_examples=15)
@given(cuts=st.sets(st.integers(1, CLIPS - 1), max_size=6).map(sorted))
def test_values_do_not_hang_on_how_clips_come_in_batches(case, cuts):
    """Any division of the clips into batches, also into some that are all padding, gives the values of one batch."""
    batches = list(zip([0, *cuts], [*cuts, CLIPS], strict=True))
    assert values_of(case, *batches) == pytest.approx(values_of(case), abs=1e-12, nan_ok=True)


@each_metric
def test_slots_of_weight_0_are_removed(case):
    """NaN and impossible classes in padding change nothing: the values are those of the real clips alone."""
    real = case.inputs["weight"] > 0
    metric = case.make()
    metric.update(**{name: value[real] for name, value in case.inputs.items() if name != "weight"})
    assert metric.compute() == pytest.approx(values_of(case), abs=1e-12, nan_ok=True)


@each_metric
def test_values_are_numbers_by_name(case):
    """Every value is a Python float, under a name that no other batches would change."""
    values = values_of(case)
    assert {type(value) for value in values.values()} == {float}
    assert values.keys() == values_of(case, (1, 7)).keys()


@each_metric
def test_nothing_has_no_value(case):
    """A metric that was given nothing, or padding only, raises a UsageError that says what to do."""
    metric = case.make()
    with pytest.warns(UserWarning, match="before the ``update``"), pytest.raises(UsageError, match=r"call update\(\)"):
        metric.compute()
    case.feed(metric, 7, 9)
    with pytest.raises(UsageError, match=r"compute\(\): there is no .* yet"):
        metric.compute()


@each_metric
def test_a_reset_metric_begins_anew(case):
    """After `reset` the clips before it are forgotten."""
    metric = case.make()
    case.feed(metric)
    metric.reset()
    case.feed(metric, 1, 7)
    assert metric.compute() == pytest.approx(values_of(case, (1, 7)), abs=1e-12, nan_ok=True)


@each_metric
def test_calling_a_metric_takes_a_batch_in(case):
    """`metric(…)` is `update`, and as little as that minds a batch of padding."""
    metric = case.make()
    for begin, end in ((0, 7), (7, 9), (9, CLIPS)):
        assert metric(**{name: value[begin:end] for name, value in case.inputs.items()}) is None
    assert metric.compute() == pytest.approx(values_of(case), abs=1e-12, nan_ok=True)


@each_metric
def test_metrics_of_parts_can_be_merged(case):
    """Torchmetrics' `merge_state` adds up what two metrics have seen."""
    metric, other = case.make(), case.make()
    case.feed(metric, 0, 11)
    case.feed(other, 11, CLIPS)
    metric.merge_state(other)
    assert metric.compute() == pytest.approx(values_of(case), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", [name for name in CASES if name != "cml"])
def test_a_real_clip_with_nan_is_refused(name):
    """NaN in a score of weight above 0 is a UsageError and no arbitrary class."""
    inputs = dict(CASES[name].inputs)
    scores = next(iter(inputs))
    inputs[scores] = inputs[scores].clone()
    inputs[scores].view(CLIPS, -1)[3, 1] = float("nan")
    with pytest.raises(UsageError, match="NaN in a clip of weight above 0"):
        CASES[name].make().update(**inputs)


@pytest.mark.parametrize(
    ("name", "argument"), [(name, argument) for name, case in CASES.items() for argument in case.inputs]
)
def test_a_tensor_of_another_shape_is_named(name, argument):
    """A size too many in the last dimension is a UsageError that says which tensor, its shape and the right one."""
    inputs = dict(CASES[name].inputs)
    value = inputs[argument]
    inputs[argument] = torch.cat([value, value[..., -1:]], dim=-1)
    with pytest.raises(UsageError, match=r"of shape \[.*\]: \[.*\] is needed"):
        CASES[name].make().update(**inputs)


RANK_SCRIPT = textwrap.dedent(
    """
    import json, sys
    import torch.distributed as dist

    tests, rank, store = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    sys.path.insert(0, tests)
    from metric_inputs import CLIPS, cases
    from shardkit import UsageError

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    shared, one_sided, told, after = {}, {}, {}, {}
    for name, case in cases().items():
        metric = case.make()
        for begin in range(5 * rank, CLIPS, 10):  # three batches for rank 0, two for rank 1
            case.feed(metric, begin, min(begin + 5, CLIPS))
        shared[name] = [metric.compute(), metric.compute()]
        metric = case.make()
        if rank == 0:
            case.feed(metric)
        one_sided[name] = metric.compute()
        metric = case.make()
        case.feed(metric, 7, 9)  # padding
        try:
            metric.compute()
        except UsageError as error:
            told[name] = str(error)
        case.feed(metric, 12 * rank, 12 * rank + 12)
        after[name] = metric.compute()
    print(json.dumps([shared, one_sided, told, after]))
    dist.destroy_process_group()
    """
)


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory):
    """What each of two gloo ranks computed: together, with clips on one only, with none, and after that."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-W", "ignore", "-c", RANK_SCRIPT, str(Path(__file__).parent)]
    ranks = [subprocess.Popen([*command, str(rank), folder / "store"], stdout=subprocess.PIPE) for rank in range(2)]
    return [json.loads(rank.communicate(timeout=150)[0]) for rank in ranks]


@each_metric
def test_ranks_get_the_values_of_all_clips(case, of_ranks, request):
    """Two ranks with different batches both get what one process gets of all; asking again changes nothing."""
    name = request.node.callspec.id
    for shared, *_ in of_ranks:
        for values in shared[name]:
            assert values == pytest.approx(values_of(case), abs=1e-12, nan_ok=True)


@each_metric
def test_a_rank_without_batches_takes_part(case, of_ranks, request):
    """Where rank 1 was given nothing, both get rank 0's values."""
    for _, one_sided, *_ in of_ranks:
        assert one_sided[request.node.callspec.id] == pytest.approx(values_of(case), abs=1e-12, nan_ok=True)


@each_metric
def test_ranks_go_on_after_they_had_nothing(case, of_ranks, request):
    """Where all had padding only, all are told so; each has its own states back, and the next values are right."""
    name = request.node.callspec.id
    for *_, told, after in of_ranks:
        assert "there is no" in told[name]
        assert after[name] == pytest.approx(values_of(case), abs=1e-12, nan_ok=True)


def test_without_torchmetrics_the_error_names_the_extra(monkeypatch):
    """Where torchmetrics is missing, importing the metrics says how to install it."""
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    spec = importlib.util.spec_from_file_location("another_clip_metric", clip_metric.__file__)
    with pytest.raises(UsageError, match=r"pip install 'shardkit\[metrics\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("name", ["classification", "cml", "hierarchy"])
def test_the_examples_in_the_docstrings_are_right(name):
    """What the examples print is what they say."""
    kind = type(CASES[name].make())
    (example,) = doctest.DocTestFinder(recurse=False).find(kind, globs={"torch": torch, kind.__name__: kind})
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClassificationMetrics(0),
        lambda: ClassificationMetrics(3, scores="odds"),
        lambda: CMLMetrics(4, prior=torch.zeros(4, 4)),
        lambda: CMLMetrics(4, prior=torch.zeros(5, 4)),
    ],
)
def test_a_metric_of_impossible_settings_is_refused(make):
    """No classes, another kind of scores, or a prior of another shape or of shares, are a UsageError at once."""
    with pytest.raises(UsageError, match="needed"):
        make()


@each_metric
def test_a_metric_can_be_copied(case):
    """A copy, as trainers make them, goes on by itself from where the metric was."""
    metric = case.make()
    case.feed(metric, 0, 11)
    copy = metric.clone()
    case.feed(copy, 11, CLIPS)
    metric.reset()
    assert copy.compute() == pytest.approx(values_of(case), abs=1e-12, nan_ok=True)
