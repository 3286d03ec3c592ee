"""What workers tell the trainer's process: a run is done, a slot could not be filled, a worker cannot start.

Messages are at most PIPE_BUF bytes, so that writes of several workers into one pipe never mix.
"""

import os
import struct
from dataclasses import dataclass

import msgpack

from shardkit import errors

_LENGTH = struct.Struct("<H")
NO_RUN = -1
"""Ticket of a report that says why its worker cannot start."""
_MAX_TEXT = 3000  # PIPE_BUF is 4,096 on Linux


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a slot could not be filled."""

    slot: int
    """In its batch; of no meaning in a report of no run."""
    kind: str
    """Name of a class in shardkit.errors."""
    message: str

    @classmethod
    def of(cls, slot: int, error: errors.ShardkitError) -> "Fault":
        """What an error did to a slot; of other modules' errors the kind is that of shardkit.errors that they are."""
        kind = next(each.__name__ for each in type(error).__mro__ if getattr(errors, each.__name__, None) is each)
        return cls(slot, kind, str(error))

    def error(self) -> errors.ShardkitError:
        """The exception that the trainer sees."""
        kind: type[errors.ShardkitError] = getattr(errors, self.kind)
        return kind(self.message)


@dataclass(frozen=True, slots=True)
class Report:
    """A run is done, or (with a fault) one of its slots is bad."""

    ticket: int
    fault: Fault | None = None


def send(descriptor: int, report: Report) -> None:
    """Writes a report into the pipe in one piece."""
    content: list[int | str] = [report.ticket]
    if report.fault is not None:
        text = report.fault.message.encode()[:_MAX_TEXT].decode(errors="ignore")
        content += [report.fault.slot, report.fault.kind, text]
    body: bytes = msgpack.packb(content)
    os.write(descriptor, _LENGTH.pack(len(body)) + body)


class ReportReader:
    """Takes reports out of the pipe's non-blocking end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending = b""

    def drain(self) -> list[Report]:
        """All reports that have arrived."""
        reports: list[Report] = []
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                return reports
            if not data:
                return reports
            data = self._pending + data
            start = 0
            while len(data) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(data, start)
                stop = start + _LENGTH.size + length
                if stop > len(data):
                    break
                ticket, *fault = msgpack.unpackb(data[start + _LENGTH.size : stop])
                reports.append(Report(ticket, Fault(*fault) if fault else None))
                start = stop
            self._pending = data[start:]
