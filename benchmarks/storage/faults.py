"""Which fault a request meets: a function of the rules, the request, how often it came, and a seed."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Literal


class Fault(str, Enum):
    """What can go wrong with one answer.

    Those that break a body need one of two bytes or more whose length is announced; other answers pass unharmed.
    """

    STALL = "stall"
    """No byte for `FaultRule.stall_s` in the middle of the body, which then goes on."""
    RESET = "reset"
    """The connection is reset (RST) in the middle of the body."""
    TRUNCATE = "truncate"
    """The connection is closed in order in the middle of the announced body."""
    SHORT = "short"
    """A well-formed answer with fewer bytes than were asked for: Content-Length and Content-Range say so."""
    LIE = "lie"
    """Content-Length is `LIE_BYTES` more than what comes before the connection is closed. HEAD can tell it, too."""
    CORRUPT = "corrupt"
    """One byte of the body has its bits flipped."""
    STATUS_200 = "status_200"
    """The right bytes and the right Content-Range, under status 200 in the place of 206."""
    IGNORE_RANGE = "ignore_range"
    """The whole file, whatever was asked for. S3 refuses a request whose Range is gone, because that is signed."""
    REFUSE = "refuse"
    """The connection is closed before any answer."""
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    TOO_MANY = "429"
    """With Retry-After."""
    SERVER_ERROR = "500"
    UNAVAILABLE = "503"


STATUS_FAULTS = frozenset((Fault.FORBIDDEN, Fault.NOT_FOUND, Fault.TOO_MANY, Fault.SERVER_ERROR, Fault.UNAVAILABLE))
TRANSIENT_FAULTS = (
    Fault.STALL,
    Fault.RESET,
    Fault.TRUNCATE,
    Fault.SHORT,
    Fault.LIE,
    Fault.REFUSE,
    Fault.TOO_MANY,
    Fault.SERVER_ERROR,
    Fault.UNAVAILABLE,
)
"""Faults of the way, which a reader that asks again gets over."""
LIE_BYTES = 1000


@dataclass(frozen=True)
class Request:
    """What rules see of a request."""

    method: str
    path: str
    """As it stands in the request line, query included."""
    range: str | None
    """The value of the Range header, as `bytes=0-99`."""

    def subject(self, of: Literal["range", "object"]) -> tuple[str, ...]:
        """What counts as the same request.

        A range is known by its end, so that a read which is taken up from the byte where it broke is the same.
        """
        if of == "object" or self.range is None:
            return (self.method, self.path)
        return (self.method, self.path, self.range.rpartition("-")[2])


@dataclass(frozen=True)
class FaultRule:
    """Requests that meet a fault.

    Raises:
        ValueError: A field is out of its range.
    """

    fault: Fault
    share: float = 1.0
    """How many of the requests that match meet it, 0 to 1."""
    first: int | None = None
    """Only the first so many times that the same is asked for; None is every time."""
    first_of: Literal["range", "object"] = "range"
    """What counts as the same, see `Request.subject`."""
    path: str = "*"
    """Shell pattern of the path with its query."""
    ranged_gets_only: bool = True
    """Whether nothing but GETs with a Range header matches."""
    stall_s: float = 30.0
    retry_after_s: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}, expected 0 to 1")
        if self.first is not None and self.first < 1:
            raise ValueError(f"first is {self.first}, expected 1 or more")
        if self.first_of not in {"range", "object"}:
            raise ValueError(f"first_of is {self.first_of!r}, expected 'range' or 'object'")
        if self.stall_s < 0 or self.retry_after_s < 0:
            raise ValueError(f"stall_s is {self.stall_s}, retry_after_s {self.retry_after_s}, expected 0 or more")

    def matches(self, request: Request) -> bool:
        """Whether it is about this request, however often that came."""
        if self.ranged_gets_only and (request.method != "GET" or request.range is None):
            return False
        return fnmatchcase(request.path, self.path)


def mixed_faults(share: float, faults: Sequence[Fault] = TRANSIENT_FAULTS, **fields: Any) -> tuple[FaultRule, ...]:
    """Rules by which `share` of the ranged GETs meet a fault, each kind as often as any other.

    Args:
        share: 0 to 1.
        faults: The kinds.
        fields: The other fields of each `FaultRule`.
    """
    return tuple(FaultRule(fault, share / len(faults), **fields) for fault in faults)


class FaultPlan:
    """Rules, and how often what was asked for. Not safe for threads."""

    def __init__(self, rules: Sequence[FaultRule], *, seed: int) -> None:
        self._rules = tuple(rules)
        self._seed = seed
        self._asked: Counter[tuple[str, ...]] = Counter()

    def meet(self, request: Request) -> tuple[FaultRule | None, float]:
        """The rule that this request meets, and where in the body, in [0, 1).

        Neither depends on the order in which different requests come: it is drawn from the seed, what is asked for,
        and how often that was asked for before.
        """
        subjects = {of: (of, *request.subject(of)) for of in ("range", "object")}
        before = {of: self._asked[subject] for of, subject in subjects.items()}
        self._asked.update(subjects.values())
        left = self._draw(request, before["range"])
        # Shares stand one after the other on [0, 1), so a request meets one fault at most.
        for rule in self._rules:
            if not rule.matches(request) or (rule.first is not None and before[rule.first_of] >= rule.first):
                continue
            if left < rule.share:
                return rule, left / rule.share
            left -= rule.share
        return None, 0.0

    def _draw(self, request: Request, before: int) -> float:
        text = repr((self._seed, *request.subject("range"), before)).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big") / 2**48


def rules_to_json(rules: Sequence[FaultRule]) -> str:
    """A list of objects with the fields of `FaultRule`."""
    return json.dumps([asdict(rule) for rule in rules])


def rules_from_json(text: str | bytes) -> tuple[FaultRule, ...]:
    """What `rules_to_json` wrote; fields that are left out have their defaults.

    Raises:
        ValueError: It is no such list, or names a fault or a field that does not exist.
    """
    try:
        return tuple(FaultRule(**{**fields, "fault": Fault(fields["fault"])}) for fields in json.loads(text))
    except (KeyError, TypeError) as exc:
        raise ValueError(f"no list of fault rules: {exc}") from exc
