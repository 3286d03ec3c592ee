"""What was asked of a proxy, what became of it, and which rules hold. Safe for threads."""

import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.storage.faults import FaultPlan, FaultRule, Request

LOG_ENTRIES = 100_000
SETTLE_S = 5.0


@dataclass
class Served:
    """One request and what became of it."""

    method: str
    path: str
    """With its query."""
    range: str | None
    """The value of the Range header, as `bytes=0-99`."""
    status: int | None = None
    """What the client was told; None where it was told nothing."""
    fault: str | None = None
    """The fault it met; None also where a rule was met whose fault this answer could not have."""
    body_bytes: int = 0
    """Of the answer's body, as far as it was sent."""


@dataclass(frozen=True)
class Stats:
    """Counts of finished requests."""

    requests: int
    body_bytes: int
    most_in_flight: int
    """Requests that were open at the same time, at most."""
    faults: dict[str, int]
    """How often which fault was met."""


class Begun(NamedTuple):
    """What a request meets."""

    rule: FaultRule | None
    where: float
    """In the body, in [0, 1)."""
    plan: FaultPlan
    """The rules that held when it came."""


class Ledger:
    """Counts, the log of the last `LOG_ENTRIES` requests, and the rules that new ones meet."""

    def __init__(self, rules: Sequence[FaultRule], *, seed: int) -> None:
        self._seed = seed
        self._changed = threading.Condition()
        self._open = 0
        self.restart(rules)

    def restart(self, rules: Sequence[FaultRule]) -> None:
        """Other rules; counts, log, and what was asked before are forgotten, also what is not through with yet."""
        with self._changed:
            self._plan = FaultPlan(rules, seed=self._seed)
            self._log: deque[Served] = deque(maxlen=LOG_ENTRIES)
            self._requests = self._body_bytes = 0
            self._most_open = self._open
            self._faults: Counter[str] = Counter()

    def begin(self, request: Request) -> Begun:
        """A request came."""
        with self._changed:
            self._open += 1
            self._most_open = max(self._most_open, self._open)
            return Begun(*self._plan.meet(request), self._plan)

    def end(self, begun: Begun, served: Served) -> None:
        """A request that began is through with."""
        with self._changed:
            self._open -= 1
            if begun.plan is self._plan:
                self._requests += 1
                self._body_bytes += served.body_bytes
                if served.fault is not None:
                    self._faults[served.fault] += 1
                self._log.append(served)
            self._changed.notify_all()

    def stats(self) -> Stats:
        """The counts; waits for requests in flight as `log` does."""
        with self._changed:
            self._settle()
            return Stats(self._requests, self._body_bytes, self._most_open, dict(self._faults))

    def log(self) -> list[Served]:
        """Requests in the order in which they ended.

        A client has its answer a moment before the request is entered: waits until none is open, `SETTLE_S` at most.
        """
        with self._changed:
            self._settle()
            return list(self._log)

    def _settle(self) -> None:
        self._changed.wait_for(lambda: not self._open, SETTLE_S)
