"""Tables of a run, and its JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.loaders.cases import Case
from benchmarks.loaders.ratios import Verdict
from benchmarks.loaders.rounds import Results


def ratios_table(verdicts: Sequence[Verdict]) -> str:
    """What must hold, in Markdown."""
    lines = [
        "| ratio | at least | median | min to max | against | |",
        "|---|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        low, high = min(verdict.per_round), max(verdict.per_round)
        lines.append(
            f"| {verdict.title} | {verdict.at_least:g} | {verdict.median:.2f} | {low:.2f} to {high:.2f} "
            f"| {verdict.against} | {'holds' if verdict.holds else 'MISSED'} |"
        )
    return "\n".join(lines)


def cases_table(cases: Sequence[Case], results: Results) -> str:
    """Every case, in Markdown: medians over the rounds."""
    lines = [
        "| case | workers | clips/s | min to max | CPU ms a clip | min to max |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases:
        measured = [found[case.name] for found in results.rounds if case.name in found]
        if not measured:
            lines.append(f"| {case.name} | | failed | | | |")
            continue
        setup = results.setups[case.name]
        rates = [m.clips_per_s for m in measured]
        costs_ms = [1000 * m.cpu_s_per_clip for m in measured]
        lines.append(
            f"| {case.name} | {setup.workers} {setup.mode} | {statistics.median(rates):.0f} "
            f"| {min(rates):.0f} to {max(rates):.0f} | {statistics.median(costs_ms):.2f} "
            f"| {min(costs_ms):.2f} to {max(costs_ms):.2f} |"
        )
    return "\n".join(lines)


def write_json(path: Path, about: dict, results: Results, verdicts: Sequence[Verdict]) -> None:
    """Writes all figures, whole or not at all."""
    content = {
        **about,
        "ratios": [{**asdict(verdict), "median": verdict.median, "holds": verdict.holds} for verdict in verdicts],
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
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(path)
