"""Where a loader stands: five values, the same on all ranks, good for any batch size and number of ranks.

    {"version": 1, "seed": 0, "epoch": 3, "delivered": 4096, "fingerprint": "9f…"}

The fingerprint covers everything that decides which clip stands at a position and is not in the state itself. It has a
part for each thing that a user may change, so that an error can name it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shardkit.errors import UsageError

__all__ = ["STATE_VERSION", "LoaderState", "check_fingerprint", "fingerprint"]

STATE_VERSION = 1

_NUMBERS = ("seed", "epoch", "delivered")
_KEYS = frozenset(("version", "fingerprint", *_NUMBERS))

_PARTS = (
    ("the data set is another one, or was packed or relabelled since", "load the one that the state was saved with"),
    ("split=, where= or the selection of clips is another one", "load the same clips"),
    ("shuffle= or, with locality=, the number of nodes is not the same", "make the loader with the same"),
    (
        "shuffle_shards= or balance= is not the same, or this version of shardkit orders clips in another way",
        "make the loader with the same, or load the state with the version that saved it",
    ),
)
"""What it means that a part of the fingerprint differs, and the remedy; where one does, those after it often do too."""
_PART_BYTES = 8


@dataclass(frozen=True, slots=True)
class LoaderState:
    """Where a loader stands.

    Raises:
        UsageError: A value is of the wrong type, negative or of another version.
    """

    seed: int
    epoch: int
    delivered: int
    """Positions of the epoch's order delivered so far, over all ranks."""
    fingerprint: str
    """Of the order that the positions count in; see `fingerprint`."""
    version: int = STATE_VERSION

    def __post_init__(self) -> None:
        # bool is an int to isinstance, and a state with delivered=True is a mistake.
        if type(self.version) is not int or self.version != STATE_VERSION:
            raise UsageError(
                f"loader state: version is {self.version!r}, this shardkit reads {STATE_VERSION}; "
                "load it with the shardkit that saved it, or start the epoch afresh",
            )
        for name in _NUMBERS:
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise UsageError(
                    f"loader state: {name} is {value!r}, expected an int from 0 on; "
                    "pass the dict that state_dict() returned",
                )
        if not isinstance(self.fingerprint, str) or not self.fingerprint:
            raise UsageError(
                f"loader state: fingerprint is {self.fingerprint!r}, expected a str; "
                "pass the dict that state_dict() returned",
            )

    def to_dict(self) -> dict[str, int | str]:
        """The state as plain ints and strings, ready for `torch.save` or JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LoaderState":
        """The inverse of `to_dict`.

        Raises:
            UsageError: `data` is not a state of this version: wrong keys, wrong types, negative numbers.
        """
        if not isinstance(data, Mapping):
            raise UsageError(f"loader state: got a {type(data).__name__}, expected the dict that state_dict() returned")
        # The version comes first: another version may well have other keys.
        if data.get("version", STATE_VERSION) == STATE_VERSION and set(data) != _KEYS:
            missing = ", ".join(sorted(_KEYS - set(data))) or "none"
            unknown = ", ".join(sorted(str(key) for key in set(data) - _KEYS)) or "none"
            raise UsageError(
                f"loader state: missing keys: {missing}; unknown keys: {unknown}; "
                "pass the dict that state_dict() returned",
            )
        return cls(**{key: data.get(key) for key in _KEYS})  # type: ignore[arg-type]  # checked in __post_init__


def fingerprint(
    *,
    order_version: int,
    dataset_digest: str,
    clip_count: int,
    window_shards: int | None,
    selection_digest: str,
    shuffle: bool = True,
    nodes: int = 1,
    balance: str | None = None,
) -> str:
    """Digests of what decides which clip stands at a position, apart from seed and epoch.

    Args:
        order_version: `order.ORDER_VERSION`.
        dataset_digest: Digest of the data set's manifest.
        clip_count: N, after split and selection.
        window_shards: K; give `EpochOrder.window_shards`, so that None and the number of all shards agree.
        selection_digest: Digest of which clips are selected.
        shuffle: False where clips come as they are stored.
        nodes: L, of nodes that read a share of the shards each.
        balance: What the classes of are drawn equally often; None: every clip comes once.

    Returns:
        A part for the data set, the selection, shuffling and the order: 16 hexadecimal digits each, joined by `-`.
    """
    parts: tuple[dict[str, Any], ...] = (
        {"dataset_digest": dataset_digest},
        {"clip_count": clip_count, "selection_digest": selection_digest},
        {"shuffle": shuffle} | ({"nodes": nodes} if nodes > 1 else {}),
        {"order_version": order_version, "window_shards": window_shards, "balance": balance},
    )
    return "-".join(map(_part, parts))


def _part(covered: Mapping[str, Any]) -> str:
    canonical = json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(canonical.encode("ascii"), digest_size=_PART_BYTES).hexdigest()


def check_fingerprint(state: LoaderState, expected: str) -> None:
    """Refuses a state whose positions count in another order than the loader's.

    Raises:
        UsageError: The state's fingerprint is not `expected`; names what differs.
    """
    if state.fingerprint == expected:
        return
    saved, own = state.fingerprint.split("-"), expected.split("-")
    place = next((place for place, pair in enumerate(zip(saved, own, strict=False)) if pair[0] != pair[1]), -1)
    # Of other parts than these, nothing is known but that another version wrote them.
    what, remedy = _PARTS[place if len(saved) == len(_PARTS) else -1]
    raise UsageError(
        f"loader state (epoch {state.epoch}, {state.delivered} clips delivered): {what}, so its position means other "
        f"clips; {remedy}, or start that epoch over with set_epoch({state.epoch})",
    )
