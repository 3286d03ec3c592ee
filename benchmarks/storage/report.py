"""A run's figures as JSON, and the tables of benchmarks/README.md out of it.

python -m benchmarks.storage.report benchmarks/results/storage.json
python -m benchmarks.storage.report benchmarks/results/storage.json --readme benchmarks/README.md
"""

import argparse
import json
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.loaders.report import markdown_table, median_and_range
from benchmarks.loaders.verdicts import verdicts
from benchmarks.storage.cases import (
    CAPS_MB_PER_S,
    FAR_SERVERS,
    FAULTY_SERVERS,
    FAULTY_SHARE,
    LATENCIES_MS,
    PACED_CLIPS_PER_S,
    WORKERS_A_RANK,
    Case,
    Server,
    groups,
    own,
)
from benchmarks.storage.contents import INCOMPLETE
from benchmarks.storage.readings import Asked, Reading, Round
from benchmarks.storage.requirements import WAYS, Cost, costs, fault_pair, faults_s, requirements

Row = Sequence[str]


def figures(about: Mapping[str, Any], rounds: Sequence[Round], errors: Mapping[str, str]) -> dict[str, Any]:
    """All figures of a run, for JSON."""
    return {
        **about,
        "ratios": [verdict.to_json() for verdict in verdicts(requirements(), rounds)],
        "errors": dict(errors),
        "rounds": [{name: reading.to_json() for name, reading in measured.items()} for measured in rounds],
    }


def tables(content: Mapping[str, Any]) -> dict[str, str]:
    """Tables in Markdown by name; what was not measured is left out of them; `failed` names what failed."""
    rounds = [{name: Reading.of_json(told) for name, told in measured.items()} for measured in content["rounds"]]
    return {
        "verdicts": _verdicts(rounds),
        "failed": _failed(content["errors"]),
        "cost": _cost(rounds),
        "latency": _latency(rounds),
        "bandwidth": _bandwidth(rounds),
        "peers": _peers(rounds),
        "faults": _faults(rounds),
        "cache": _cache(rounds),
        "scaling": _scaling(rounds),
    }


def _verdicts(rounds: Sequence[Round]) -> str:
    rows = (
        (
            found.title,
            f"{'≥' if found.bound == 'at least' else '≤'} {found.limit:g}",
            *median_and_range(found.per_round, "{:.2f}"),
            found.against,
            "reached" if found.holds else "**not reached**",
        )
        for found in verdicts(requirements(), rounds)
    )
    return markdown_table(("ratio", "wanted", "median of the rounds", "least and most", "against", ""), rows)


def _failed(errors: Mapping[str, str]) -> str:
    """A line for each case that failed, with the last one of what it said."""
    told = [f"- {name} failed: {error.rstrip().splitlines()[-1]}" for name, error in errors.items()]
    return "\n".join(told) or "No case failed."


def _values(rounds: Sequence[Round], value: Callable[[Round], float]) -> list[float]:
    """Of every round that has what it needs."""
    found = []
    for measured in rounds:
        try:
            found.append(value(measured))
        except KeyError:
            continue
    return found


def _cell(values: Sequence[float], form: str = "{:.0f}") -> str:
    """Median, and least and most behind it where there are several; empty where there is nothing."""
    if not values:
        return ""
    median, span = median_and_range(values, form)
    return median if len(values) == 1 else f"{median} ({span})"


def _rate(rounds: Sequence[Round], figure: str) -> str:
    return _cell(_values(rounds, lambda measured: measured[figure].clips_per_s))


def _cpu_ms(rounds: Sequence[Round], figure: str) -> str:
    return _cell(_values(rounds, lambda measured: 1000 * measured[figure].cpu_s_per_clip), "{:.2f}")


def _asked(rounds: Sequence[Round], figure: str, value: Callable[[Asked], float], form: str) -> str:
    """The median of something that a loader asked of its storage."""
    asked = [measured[figure].asked for measured in rounds if figure in measured]
    values = [value(one) for one in asked if one is not None]
    return form.format(statistics.median(values)) if values else ""


def _filled(head: Row, rows: Iterable[Row]) -> str:
    """A table of the rows that have more than their title."""
    return markdown_table(head, (row for row in rows if any(row[1:])))


def _cost(rounds: Sequence[Round]) -> str:
    def row(cost: Cost, how: str) -> Row:
        bare = [_cpu_ms(rounds, figure) for figure in cost.bare]
        added = _cell(_values(rounds, lambda measured: 1000 * cost.added_s(measured)), "{:.2f}")
        titled = (f"{cost.title}; {how}", _cpu_ms(rounds, cost.disk), _cpu_ms(rounds, cost.far))
        return (*titled, added, *bare, *[""] * (2 - len(bare)))

    decoding = Cost("HTTP, obstore", own("disk").name, own("http").name, ())
    rows = [
        *(row(cost, f"{PACED_CLIPS_PER_S} clips/s") for cost in costs(PACED_CLIPS_PER_S)),
        *(row(cost, "as fast as it goes") for cost in costs(None)),
        row(decoding, "JPEG frames decoded"),
    ]
    head = ("CPU ms a clip", "from the disk", "from the URL", "added", "bare client: threads, or fsspec", "asyncio")
    return _filled(head, rows)


def _latency(rounds: Sequence[Round]) -> str:
    def row(server: Server, latency_ms: int) -> Row:
        figure, near = (own(server, latency_ms=its).name for its in (latency_ms, 0))
        return (
            f"{WAYS[server]}, {latency_ms} ms",
            _rate(rounds, figure),
            _cell(_values(rounds, lambda r: r[figure].clips_per_s / r[near].clips_per_s), "{:.2f}"),
            _cpu_ms(rounds, figure),
            _asked(rounds, figure, lambda asked: 1000 * asked.latency_p50_s, "{:.0f}"),
            _asked(rounds, figure, lambda asked: 1000 * asked.latency_p99_s, "{:.0f}"),
        )

    head = ("", "clips/s", "of 0 ms", "CPU ms a clip", "a request takes, ms (p50)", "(p99)")
    return _filled(head, (row(server, latency_ms) for server in FAR_SERVERS for latency_ms in LATENCIES_MS))


def _bandwidth(rounds: Sequence[Round]) -> str:
    def row(cap: int) -> Row:
        figure = own("http", cap_mb_per_s=cap).name
        return (
            f"{cap} MB/s",
            _rate(rounds, figure),
            _asked(rounds, figure, lambda asked: asked.mb_per_s / cap, "{:.0%}"),
        )

    return _filled(("cap", "clips/s", "of the cap used"), map(row, CAPS_MB_PER_S))


def _peers(rounds: Sequence[Round]) -> str:
    cases = groups()["peers"]
    routes = list(dict.fromkeys(case.route for case in cases))
    # Epochs of a loader that fills a cache of its own are rows of their own.
    readers = sorted({(f"{case.reader}-{case.decoder}", epoch) for case in cases for epoch in range(case.epochs or 1)})

    def cells(reader: str, epoch: int) -> Iterator[str]:
        for route in routes:
            found = [c for c in cases if f"{c.reader}-{c.decoder}" == reader and c.route == route]
            figure = found[0].figures[epoch] if found else ""
            rate, cpu_ms = _rate(rounds, figure), _cpu_ms(rounds, figure).partition(" ")[0]
            yield f"{rate}; {cpu_ms} ms" if rate else ""

    def title(reader: str, epoch: int) -> str:
        is_by_epoch = (reader, 1) in readers
        return f"{reader}, epoch {epoch + 1}" if is_by_epoch else reader

    head = ("clips/s; CPU a clip", *(route.name for route in routes))
    return _filled(head, ((title(*reader), *cells(*reader)) for reader in readers))


def _faults(rounds: Sequence[Round]) -> str:
    def row(server: Server) -> Row:
        clean, faulty = fault_pair(server)
        are_exact = _values(rounds, lambda r: r[faulty].contents == r[clean].contents != INCOMPLETE)
        return (
            WAYS[server],
            _rate(rounds, clean),
            _rate(rounds, faulty),
            _cell(_values(rounds, lambda r: sum((r[faulty].faults or {}).values()))),
            _asked(rounds, faulty, lambda asked: asked.retries, "{:.0f}"),
            _cell(_values(rounds, lambda r: r[faulty].elapsed_s - r[clean].elapsed_s), "{:.1f}"),
            _cell(_values(rounds, lambda r: faults_s(r[faulty])), "{:.1f}"),
            ("yes" if all(are_exact) else "**no**") if are_exact else "",
        )

    with_faults = f"with {FAULTY_SHARE:.0%} faults"
    head = (
        "",
        "clips/s",
        with_faults,
        "faults",
        "retries",
        "lost, s",
        "the faults' own time, s",
        "same clips, each once",
    )
    return _filled(head, map(row, FAULTY_SERVERS))


def _cache(rounds: Sequence[Round]) -> str:
    def row(case: Case) -> Row:
        cells = []
        for figure in case.figures:
            rate = _rate(rounds, figure)
            copies = _asked(rounds, figure, lambda asked: asked.cached_share, "{:.0%}")
            cells.append(f"{rate}; {copies}" if copies else rate)
        readings = [measured[case.figures[-1]] for measured in rounds if case.figures[-1] in measured]
        most = [one.most_cached_bytes / 1e6 for one in readings if one.most_cached_bytes is not None]
        limits = [one.cache_limit_bytes / 1e6 for one in readings if one.cache_limit_bytes is not None]
        title = "local disk" if case.route.server == "disk" else f"cache: {case.cache}"
        return (title, *cells, f"{max(most):.0f}" if most else "", f"{max(limits):.0f}" if limits else "")

    cases = groups()["cache"]
    head = ("clips/s; of them from copies", *(f"epoch {number}" for number in range(1, (cases[0].epochs or 0) + 1)))
    return _filled((*head, "most in the folder, MB", "limit, MB"), map(row, cases))


def _scaling(rounds: Sequence[Round]) -> str:
    def row(case: Case, workers: int, figure: str) -> Row:
        kept = "" if case.cache == "none" else ", one cache"
        return (
            f"{case.ranks} × {workers}{kept}",  # noqa: RUF001
            _rate(rounds, figure),
            _asked(rounds, figure, lambda asked: asked.mb_per_s, "{:.0f}"),
            _cpu_ms(rounds, figure),
            _asked(rounds, figure, lambda asked: asked.requests_per_clip, "{:.2f}"),
            _asked(rounds, figure, lambda asked: asked.bytes_per_clip / 1000, "{:.0f}"),
            _asked(rounds, figure, lambda asked: 1000 * asked.latency_p50_s, "{:.1f}"),
            _asked(rounds, figure, lambda asked: 1000 * asked.latency_p99_s, "{:.1f}"),
            _asked(rounds, figure, lambda asked: asked.retries, "{:.0f}"),
            _asked(rounds, figure, lambda asked: asked.cached_share, "{:.0%}"),
        )

    each = ((case, *its) for case in groups()["scaling"] for its in zip(WORKERS_A_RANK, case.figures, strict=True))
    head = ("ranks × workers", "clips/s", "MB/s", "CPU ms a clip", "GETs a clip", "kB a clip", "p50, ms", "p99, ms")  # noqa: RUF001
    return _filled((*head, "retries", "from copies"), (row(*its) for its in each))


def with_tables(text: str, named: Mapping[str, str]) -> str:
    """A text whose tables between `<!-- storage: NAME -->` and `<!-- end -->` are these.

    Raises:
        ValueError: A table has no place in it.
    """
    for name, table in named.items():
        place = re.compile(rf"(<!-- storage: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        if not place.search(text):
            raise ValueError(f"there is no place for the table {name!r}")
        text = place.sub(lambda found, table=table: found[1] + table + found[2], text)
    return text


def main() -> None:
    """Prints the tables, or puts them into a README."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("json", type=Path)
    parser.add_argument("--readme", type=Path, help="put them into this file, between their marks")
    options = parser.parse_args()
    named = tables(json.loads(options.json.read_text("utf-8")))
    if options.readme is None:
        print("\n\n".join(named.values()))
    else:
        options.readme.write_text(with_tables(options.readme.read_text("utf-8"), named), "utf-8")


if __name__ == "__main__":
    main()
