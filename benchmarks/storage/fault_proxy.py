"""A proxy that makes a server on loopback as far, as narrow and as unreliable as asked for.

    python -m benchmarks.storage.fault_proxy http://127.0.0.1:9000 --latency-ms 20 --fault reset=0.01 --fault 503=0.01

Requests reach the server as they came, the Host header too: signatures of S3 cover it, so clients sign the proxy's
address, and the server checks the signature against what it received. Each connection has a thread; threads wait in
system calls, so that one request's latency is nobody else's.
"""

import argparse
import http.client
import json
import os
import re
import resource
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.storage.conversation import CONTROL, Conversation
from benchmarks.storage.faults import Fault, FaultRule, rules_from_json, rules_to_json
from benchmarks.storage.ledger import Ledger, Served, Stats
from benchmarks.storage.link import Link, Throttle
from benchmarks.storage.owned_process import owned_process

REPOSITORY = Path(__file__).parents[2]
_BACKLOG = 1024
_CONTROL_TIMEOUT_S = 60.0


class RunningProxy:
    """A proxy in a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        """To be used in the place of the server's, without a slash at its end."""

    def __repr__(self) -> str:
        return f"RunningProxy({self.url!r})"

    def stats(self) -> Stats:
        """Counts since the start, or since `set_rules`."""
        return Stats(**self._ask("GET", "stats"))

    def log(self) -> list[Served]:
        """Requests since the start or since `set_rules`, in the order in which they ended."""
        return [Served(**served) for served in self._ask("GET", "log")]

    def set_rules(self, rules: Sequence[FaultRule]) -> None:
        """Other rules from now on; counts, log, and what was asked before are forgotten."""
        self._ask("PUT", "rules", rules_to_json(rules))

    def _ask(self, method: str, name: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=_CONTROL_TIMEOUT_S)
        try:
            connection.request(method, CONTROL + name, body)
            answer = connection.getresponse()
            value = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise ValueError(value)
        return value


@contextmanager
def fault_proxy(
    server_url: str, *, link: Link | None = None, rules: Sequence[FaultRule] = (), seed: int = 0
) -> Iterator[RunningProxy]:
    """Runs a proxy in front of a server.

    Args:
        server_url: `http://HOST:PORT`.
        link: Latency and bandwidth; none is given and taken without.
        rules: Which requests meet a fault.
        seed: Of what is drawn.
    """
    link = link or Link()

    def command(own: Path) -> list[str]:
        (own / "rules.json").write_text(rules_to_json(rules))
        return [
            *(sys.executable, "-m", "benchmarks.storage.fault_proxy", server_url),
            *("--latency-ms", str(link.latency_s * 1e3), "--seed", str(seed)),
            *("--rules", str(own / "rules.json")),
            *(() if link.bytes_per_s is None else ("--mb-per-s", str(link.bytes_per_s / 1e6))),
            *(("--mend-206",) if link.mend_206 else ()),
        ]

    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with owned_process("fault proxy", command, environment=environment) as process:
        found = process.wait_for(lambda: re.search(r"^(http://\S+)$", process.log(), re.MULTILINE))
        yield RunningProxy(found.group(1))


def main() -> None:
    """Serves until it is ended; prints its URL first."""
    arguments = _arguments()
    rules = [FaultRule(fault, share, **_rule_fields(arguments)) for fault, share in arguments.fault]
    if arguments.rules:
        rules += rules_from_json(arguments.rules.read_text())
    bytes_per_s = None if arguments.mb_per_s is None else arguments.mb_per_s * 1e6
    link = Link(arguments.latency_ms / 1e3, bytes_per_s, arguments.mend_206)
    # Two descriptors a client.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with socket.create_server(("127.0.0.1", arguments.port), backlog=_BACKLOG) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        _serve(listener, arguments.server, link, Ledger(rules, seed=arguments.seed))


def _serve(listener: socket.socket, server: tuple[str, int], link: Link, ledger: Ledger) -> None:
    throttle = Throttle(link.bytes_per_s)
    while True:
        client, _ = listener.accept()
        conversation = Conversation(client, server=server, link=link, throttle=throttle, ledger=ledger)
        threading.Thread(target=conversation.run, daemon=True).start()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.storage.fault_proxy", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("server", type=_address, metavar="URL", help="http://HOST:PORT of the server behind it")
    parser.add_argument("--port", type=int, default=0, help="to listen on; any free one by default")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="from a request to its answer's first byte")
    parser.add_argument("--mb-per-s", type=float, help="of all bodies together, 10^6 bytes")
    parser.add_argument("--mend-206", action="store_true", help="status 206 where a Content-Range is under status 200")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rules", type=Path, help="JSON file: a list of objects with the fields of FaultRule")
    parser.add_argument(
        *("--fault", "-f"), action="append", default=[], type=_share, metavar="KIND=SHARE", help=", ".join(Fault)
    )
    group = parser.add_argument_group("what holds for each --fault")
    group.add_argument("--first", type=int, help="only the first so many times that the same is asked for")
    group.add_argument("--first-of", choices=("range", "object"), default="range", help="what the same is")
    group.add_argument("--path", default="*", help="shell pattern of the path with its query")
    group.add_argument("--every-request", action="store_true", help="not only GETs with a Range header")
    group.add_argument("--stall-s", type=float, default=30.0)
    group.add_argument("--retry-after-s", type=int, default=1)
    return parser.parse_args()


def _rule_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "first": arguments.first,
        "first_of": arguments.first_of,
        "path": arguments.path,
        "ranged_gets_only": not arguments.every_request,
        "stall_s": arguments.stall_s,
        "retry_after_s": arguments.retry_after_s,
    }


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None or parts.port is None:
        raise argparse.ArgumentTypeError(f"{url!r} is not http://HOST:PORT")
    return parts.hostname, parts.port


def _share(text: str) -> tuple[Fault, float]:
    name, _, share = text.partition("=")
    try:
        return Fault(name), float(share)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=SHARE: {exc}") from exc


if __name__ == "__main__":
    main()
