"""A run's figures as JSON, and the tables of benchmarks/README.md out of it.

python -m benchmarks.loaders.report benchmarks/results/loaders.json
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.loaders.ratios import SHOWN
from benchmarks.loaders.rounds import Results
from benchmarks.loaders.verdicts import Verdict

SHAPES = ("square", "short")


def figures(about: Mapping[str, Any], results: Results, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """All figures of a run, for JSON."""
    return {
        **about,
        "ratios": [verdict.to_json() for verdict in verdicts],
        "setups": {name: asdict(setup) for name, setup in results.setups.items()},
        "tried_clips_per_s": results.tried,
        "errors": results.errors,
        "rounds": [
            {
                name: {**asdict(m), "clips_per_s": m.clips_per_s, "cpu_s_per_clip": m.cpu_s_per_clip}
                for name, m in found.items()
            }
            for found in results.rounds
        ],
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the figures, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(path)


def tables(content: Mapping[str, Any]) -> list[str]:
    """In Markdown: what must hold, other ratios, cases that both stored shapes have, the other cases."""
    return [_verdicts(content), _shown(content), _shapes(content), _others(content)]


def _verdicts(content: Mapping[str, Any]) -> str:
    rows = (
        (
            found["title"],
            f"{found['at_least']:g}",
            *median_and_range(found["per_round"], "{:.2f}"),
            found["against"],
            "reached" if found["holds"] else "**not reached**",
        )
        for found in content["ratios"]
    )
    return markdown_table(("ratio", "at least", "median of the rounds", "least and most", "against", ""), rows)


def _shown(content: Mapping[str, Any]) -> str:
    def ratios(ours: str, rival: str) -> list[float]:
        return [
            found[ours]["clips_per_s"] / found[rival]["clips_per_s"]
            for found in content["rounds"]
            if ours in found and rival in found
        ]

    rows = (
        (f"{ours} ÷ {rival}", *median_and_range(found, "{:.2f}"))
        for ours, rival in SHOWN
        if (found := ratios(ours, rival))
    )
    return markdown_table(("", "median of the rounds", "least and most"), rows)


def _shapes(content: Mapping[str, Any]) -> str:
    kinds = dict.fromkeys(name.partition("@")[0] for name in _names(content, lambda shape: shape in SHAPES))
    rows = ((kind, *(cell for shape in SHAPES for cell in _case(content, f"{kind}@{shape}"))) for kind in kinds)
    return markdown_table(("", "224² stored", "CPU", "workers", "short side 256, cropped", "CPU", "workers"), rows)


def _others(content: Mapping[str, Any]) -> str:
    names = _names(content, lambda shape: shape not in SHAPES)
    return markdown_table(("", "clips/s", "CPU", "workers"), ((name, *_case(content, name)) for name in names))


def _names(content: Mapping[str, Any], belongs: Callable[[str], bool]) -> list[str]:
    names = dict.fromkeys(name for found in content["rounds"] for name in found)
    return sorted(name for name in names if belongs(name.partition("@")[2]))


def _case(content: Mapping[str, Any], name: str) -> tuple[str, str, str]:
    """Clips a second, CPU milliseconds a clip, workers; empty where it was not measured."""
    found = [measured[name] for measured in content["rounds"] if name in measured]
    if not found:
        return "", "", ""
    setup = content["setups"][name]
    rate, spread = median_and_range([one["clips_per_s"] for one in found], "{:.0f}")
    cost_ms, _ = median_and_range([1000 * one["cpu_s_per_clip"] for one in found], "{:.2f}")
    return f"{rate} ({spread})", cost_ms, f"{setup['workers']} {setup['mode']}".strip()


def median_and_range(values: Sequence[float], form: str) -> tuple[str, str]:
    """Median; least and most."""
    return form.format(statistics.median(values)), f"{form.format(min(values))}–{form.format(max(values))}"  # noqa: RUF001


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; empty cells stay empty."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines)


if __name__ == "__main__":
    print("\n\n".join(tables(json.loads(Path(sys.argv[1]).read_text()))))
