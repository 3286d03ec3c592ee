"""One client's connection through the proxy, and the connection to the server that goes with it."""

import json
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict

from benchmarks.storage.faults import LIE_BYTES, STATUS_FAULTS, Fault, FaultRule, Request, rules_from_json
from benchmarks.storage.ledger import Ledger, Served
from benchmarks.storage.link import Link, Throttle
from benchmarks.storage.wire import Head, PeerGoneError, Stream

CONTROL = "/__proxy__/"
"""Paths below it ask the proxy itself: GET stats, GET log, PUT rules."""
_PARTWAY_FAULTS = frozenset((Fault.STALL, Fault.RESET, Fault.TRUNCATE, Fault.SHORT, Fault.CORRUPT))
# Reasons, and the codes that S3 has for them.
_REASONS = {
    Fault.FORBIDDEN: ("Forbidden", "AccessDenied"),
    Fault.NOT_FOUND: ("Not Found", "NoSuchKey"),
    Fault.TOO_MANY: ("Too Many Requests", "TooManyRequests"),
    Fault.SERVER_ERROR: ("Internal Server Error", "InternalError"),
    Fault.UNAVAILABLE: ("Service Unavailable", "SlowDown"),
}


class Conversation:
    """Requests of one client, one after the other. Blocks; runs in a thread of its own."""

    def __init__(
        self, client: socket.socket, *, server: tuple[str, int], link: Link, throttle: Throttle, ledger: Ledger
    ) -> None:
        self._client = Stream(client)
        self._server_address = server
        self._server: Stream | None = None
        self._link = link
        self._throttle = throttle
        self._ledger = ledger
        self._block = memoryview(bytearray(throttle.block_bytes))

    def run(self) -> None:
        """Serves until either side closes the connection, or a fault does."""
        try:
            with suppress(OSError, PeerGoneError):
                while self._serve_one():
                    pass
        finally:
            self._client.close()
            self._leave_server()

    def _serve_one(self) -> bool:
        """Serves a request; returns whether another may follow."""
        head = Head.read(self._client)
        method, path, _ = head.words
        if path.startswith(CONTROL):
            return self._control(f"{method} {path.removeprefix(CONTROL)}", head)
        request = Request(method, path, head.get(b"range"))
        begun = self._ledger.begin(request)
        served = Served(request.method, request.path, request.range)
        try:
            return self._exchange(head, begun.rule, begun.where, served) and not head.closes
        finally:
            self._ledger.end(begun, served)

    def _exchange(self, head: Head, rule: FaultRule | None, where: float, served: Served) -> bool:
        fault = rule.fault if rule else None
        if head.get(b"expect"):
            # Answered here, so that the server keeps silent until the body is through. Signatures leave it out.
            head.put(b"expect", None)
            self._client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if rule and (fault is Fault.REFUSE or fault in STATUS_FAULTS):
            self._receive_body(head)
            time.sleep(self._link.latency_s)
            served.fault = rule.fault.value
            return fault is not Fault.REFUSE and self._answer_status(head, rule, served)
        if fault is Fault.IGNORE_RANGE and served.range is not None:
            head.put(b"range", None)
            served.fault = fault.value
        time.sleep(self._link.latency_s)
        answer = self._ask(head)
        goes_on = self._answer(head, answer, rule, where, served)
        return goes_on and not answer.closes

    def _answer_status(self, head: Head, rule: FaultRule, served: Served) -> bool:
        reason, code = _REASONS[rule.fault]
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{reason}</Message></Error>'
        status = rule.fault.value
        lines = [f"HTTP/1.1 {status} {reason}", "Content-Type: application/xml", f"Content-Length: {len(body)}"]
        if rule.fault is Fault.TOO_MANY:
            lines.append(f"Retry-After: {rule.retry_after_s}")
        if head.words[0] == "HEAD":
            body = ""
        self._client.send("\r\n".join((*lines, "", body)).encode())
        served.status, served.body_bytes = int(status), len(body)
        return True

    def _ask(self, head: Head) -> Head:
        """Sends a request on; returns the head of the answer."""
        if self._server is not None:
            # A server may close a connection that was idle: then another one is as good, unless a body is gone with it.
            try:
                return self._ask_on(self._server, head)
            except (OSError, PeerGoneError):
                self._leave_server()
                if head.chunked or head.body_bytes:
                    raise
        self._server = Stream(socket.create_connection(self._server_address))
        return self._ask_on(self._server, head)

    def _ask_on(self, server: Stream, head: Head) -> Head:
        server.send(head.raw(), more=bool(head.body_bytes))
        if head.chunked:
            self._pass_chunks(self._client, server)
        else:
            self._pass(self._client, server.send, head.body_bytes or 0)
        return Head.read(server)

    def _answer(self, head: Head, answer: Head, rule: FaultRule | None, where: float, served: Served) -> bool:
        """Sends an answer on, with its fault; returns whether the connection is whole afterwards."""
        assert self._server is not None
        fault = rule.fault if rule else None
        status, size = answer.words[1], answer.body_bytes
        if self._link.mend_206 and status == "200" and answer.get(b"content-range"):
            status, answer.start = "206", b"HTTP/1.1 206 Partial Content"
        if fault is Fault.STATUS_200 and status == "206":
            status, answer.start = "200", b"HTTP/1.1 200 OK"
            served.fault = fault.value
        served.status = int(status)
        if fault is Fault.LIE and size:
            answer.put(b"content-length", str(size + LIE_BYTES))
            served.fault = fault.value
        if head.words[0] == "HEAD" or status in {"204", "304"} or size == 0:
            self._client.send(answer.raw())
            return True

        def send(block: memoryview) -> None:
            self._client.send(block)
            served.body_bytes += len(block)

        if size is None:
            self._client.send(answer.raw())
            if not answer.chunked:
                # Its end is the connection's end, and `PeerGoneError` that.
                self._pass(self._server, send, None)
            served.body_bytes = self._pass_chunks(self._server, self._client)
            return True
        if rule is None or fault not in _PARTWAY_FAULTS or size < 2:
            self._client.send(answer.raw(), more=True)
            self._pass(self._server, send, size)
            return fault is not Fault.LIE
        # At least one byte comes, and one is missing.
        return self._break(answer, rule, size, min(max(1, int(where * size)), size - 1), send, served)

    def _break(
        self,
        answer: Head,
        rule: FaultRule,
        size: int,
        broken: int,
        send: Callable[[memoryview], None],
        served: Served,
    ) -> bool:
        """A body that something happens to after its first `broken` bytes."""
        assert self._server is not None
        served.fault = rule.fault.value
        if rule.fault is Fault.SHORT:
            answer.put(b"content-length", str(broken))
            _shorten_range(answer, broken)
        self._client.send(answer.raw(), more=True)
        self._pass(self._server, send, broken)
        if rule.fault is Fault.SHORT:
            # The rest of the body would stand before the next answer.
            self._leave_server()
            return True
        if rule.fault is Fault.RESET:
            self._client.reset()
            return False
        if rule.fault is Fault.TRUNCATE or (rule.fault is Fault.STALL and self._client_leaves(rule.stall_s)):
            return False
        if rule.fault is Fault.CORRUPT:
            self._server.receive_into(self._block[:1])
            self._block[0] ^= 0xFF
            send(self._block[:1])
            broken += 1
        self._pass(self._server, send, size - broken)
        return True

    def _client_leaves(self, wait_s: float) -> bool:
        """Waits so long, or until the client closes the connection; returns whether it did."""
        waiting = select.poll()
        waiting.register(self._client.socket, select.POLLRDHUP)
        return bool(waiting.poll(wait_s * 1000))

    def _pass(self, source: Stream, send: Callable[[memoryview], None], size: int | None) -> None:
        """Sends `size` bytes on; None is until the source is gone."""
        left = size
        while left is None or left > 0:
            received = source.receive_into(self._block if left is None else self._block[:left])
            self._throttle.wait(received)
            send(self._block[:received])
            if left is not None:
                left -= received

    def _pass_chunks(self, source: Stream, target: Stream) -> int:
        """Sends a body of chunks on as it is; returns how many bytes they hold."""
        total = 0
        while size := int((line := source.read_until(b"\r\n")).partition(b";")[0], 16):
            target.send(line, more=True)
            self._pass(source, target.send, size + len(b"\r\n"))
            total += size
        while line != b"\r\n":
            target.send(line, more=True)
            line = source.read_until(b"\r\n")
        target.send(line)
        return total

    def _receive_body(self, head: Head) -> bytes:
        body = bytearray()
        while len(body) < (head.body_bytes or 0):
            body += self._block[: self._client.receive_into(self._block)]
        return bytes(body)

    def _leave_server(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _control(self, asked: str, head: Head) -> bool:
        body = self._receive_body(head)
        status = "200 OK"
        value: object = None
        if asked == "GET stats":
            value = asdict(self._ledger.stats())
        elif asked == "GET log":
            value = [asdict(served) for served in self._ledger.log()]
        elif asked == "PUT rules":
            try:
                self._ledger.restart(rules_from_json(body))
            except ValueError as exc:
                status, value = "400 Bad Request", str(exc)
        else:
            status, value = "404 Not Found", f"the proxy has no {asked}"
        text = json.dumps(value)
        fields = f"Content-Type: application/json\r\nContent-Length: {len(text)}"
        self._client.send(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n{text}".encode())
        return not head.closes


def _shorten_range(answer: Head, size: int) -> None:
    """Makes Content-Range say what a body of `size` bytes holds."""
    if span := answer.get(b"content-range"):
        first, _, rest = span.removeprefix("bytes ").partition("-")
        answer.put(b"content-range", f"bytes {first}-{int(first) + size - 1}/{rest.partition('/')[2]}")
