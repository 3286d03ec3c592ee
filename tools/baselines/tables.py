"""What several seeds came to, as text."""

import math
import statistics
from collections.abc import Sequence

from tools.baselines.training import Outcome

COUNTS = ("clips", "segments", "unknown", "without_class", "excluded")
"""How metrics begin that count clips, and have no mean and deviation."""


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and the deviation of the sample (0 of a single one)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def table_of(name: str, outcomes: Sequence[Outcome]) -> str:
    """Lines `evaluation, metric, mean ± deviation`, in percent, and the share of training spent waiting."""
    seeds = ", ".join(str(outcome.seed) for outcome in outcomes)
    lines = [f"{name}, seeds {seeds}: mean ± standard deviation"]
    for test, values in outcomes[0].tests.items():
        for metric in values:
            figures = [outcome.tests[test][metric] for outcome in outcomes]
            if metric.startswith((*COUNTS, "classes_without")) or any(map(math.isnan, figures)):
                continue
            mean, deviation = mean_and_deviation(figures)
            lines.append(f"  {test:<16} {metric:<20} {100 * mean:6.2f} ± {100 * deviation:.2f} %")
    mean, deviation = mean_and_deviation([outcome.wait_share for outcome in outcomes])
    lines.append(f"  {'training':<16} {'waiting for batches':<20} {100 * mean:6.2f} ± {100 * deviation:.2f} %")
    return "\n".join(lines)
