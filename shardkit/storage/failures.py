"""Failures: what storage clients raise, told apart: worth another try, or not; and said in words of one kind.

Each client has its own exceptions; none of them is imported here, since none may be installed.
"""

import errno
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from shardkit.errors import StorageError

REDIRECTED, FORBIDDEN, NOT_FOUND, BEYOND_END, TOO_MANY_REQUESTS = 301, 403, 404, 416, 429
_TRANSIENT_BELOW_500 = frozenset((408, 409, 425, TOO_MANY_REQUESTS))
_STATUS_WORDS = {
    REDIRECTED: "the bucket is in another region",
    400: "the server does not accept the request",
    401: "no credentials, or wrong ones",
    FORBIDDEN: "access denied",
    NOT_FOUND: "not found",
    405: "the server does not accept the request",
    410: "not there any more",
    BEYOND_END: "the range lies beyond the file's end",
    TOO_MANY_REQUESTS: "too many requests",
    503: "the server is busy",
}
_PERMANENT_NAMES = frozenset(
    (
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "UnauthenticatedError",
        "InvalidPathError",
        "UnknownConfigurationKeyError",
        "ParamValidationError",
    )
)
_PERMANENT_ERRNO = frozenset((errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EINVAL))


class MissingFileError(StorageError):
    """A file that is not there."""


class MissingStoreError(MissingFileError):
    """A bucket that is not there, and no file in it."""


_JITTER = random.SystemRandom()

MOST_TOLD = 200
"""Characters of a server's own words."""


class RangesRefusedError(Exception):
    """A server answered a ranged read with something else than that range."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed."""

    reason: str
    """In one line."""
    transient: bool
    """Whether another try may succeed."""
    status: int | None = None
    """Of the HTTP answer, where there was one."""
    retry_after_s: float | None = None
    """How long the server asks to wait."""

    def pause_s(self, wait_s: float) -> float:
        """How long to wait for another try: up to half less than `wait_s`, but as long as the server asks.

        Not all at once: many readers meet the same fault. What the training draws from `random` is left as it is.
        """
        return max(wait_s * _JITTER.uniform(0.5, 1.0), self.retry_after_s or 0.0)


def explain(exc: BaseException) -> Failure:
    """What an exception of a storage client means."""
    for cause in _causes(exc):
        status = _status(cause)
        if status is not None:
            transient = status in _TRANSIENT_BELOW_500 or (status >= 500 and status != 501)
            return Failure(_said(cause, status), transient, status, _retry_after_s(cause))
    if isinstance(exc, FileNotFoundError | PermissionError):
        status = NOT_FOUND if isinstance(exc, FileNotFoundError) else FORBIDDEN
        # With a number it is the system's, about a file of its own.
        return Failure(exc.strerror or _said(exc, status), transient=False, status=status)
    if any(re.search("InvalidContentType|WRONG_VERSION_NUMBER", str(cause)) for cause in _causes(exc)):
        return Failure("the server does not speak TLS there: use http://, or the port of https", transient=False)
    if is_refused_range(exc):
        return Failure("the server does not answer ranged reads with the range", transient=False)
    if type(exc).__name__ in _PERMANENT_NAMES or isinstance(exc, (ImportError, TypeError, ValueError, RuntimeError)):
        return Failure(_line(exc), transient=False)
    import ssl  # noqa: PLC0415 - it takes a while, and nothing failed so far

    # Certificates that are wrong are a ValueError, too; the numbers of other TLS faults are OpenSSL's own.
    number = exc.errno if isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError) else None
    return Failure(_line(exc), transient=number not in _PERMANENT_ERRNO)


def kind_of(failure: Failure) -> type[StorageError]:
    """The class of the error that tells of a failure."""
    if failure.status != NOT_FOUND:
        return StorageError
    # S3's and Azure's codes.
    return MissingStoreError if re.search("NoSuchBucket|ContainerNotFound", failure.reason) else MissingFileError


def remedy(failure: Failure) -> str:
    """What to do about a failure of a storage that is not on this machine."""
    match failure.status:
        case 404:
            return "check the URL, bucket and folder"
        case 401 | 403:
            return "check the keys in storage_options or in the environment, and what they may do"
        case 301:
            return "set client_kwargs.region_name in storage_options, or AWS_REGION"
        case 400 if "region" in failure.reason:
            return "set client_kwargs.region_name in storage_options, or AWS_REGION"
    if failure.transient or failure.status is not None:
        return "check the network, the server and its address (endpoint_url)"
    return "check the URL and storage_options"


def is_refused_range(exc: BaseException) -> bool:
    """Whether a server answered a ranged read with something else than the range."""
    if isinstance(exc, RangesRefusedError):
        return True
    # obstore's S3 says the one, its HTTP the other.
    return type(exc).__module__.startswith("obstore") and (
        "NotPartial" in str(exc) or type(exc).__name__ == "NotSupportedError"
    )


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """An exception and those that it came from."""
    current: BaseException | None = exc
    while current is not None:
        yield current
        current = current.__cause__


def _status(exc: BaseException) -> int | None:
    """The HTTP status that an exception tells of: aiohttp has it as an attribute, botocore in its answer."""
    # aiohttp's parser, of an answer that broke off: its code is what a server would say to such a request.
    if type(exc).__module__ == "aiohttp.http_exceptions":
        return None
    answer: Any = getattr(exc, "response", None)
    if isinstance(answer, dict):
        found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return found if isinstance(found, int) and (found >= 400 or found == REDIRECTED) else None
    for holder, attribute in ((exc, "status"), (answer, "status_code"), (exc, "code")):
        found = getattr(holder, attribute, None)
        if isinstance(found, int) and 400 <= found < 600:
            return found
    # obstore has it in its text only. S3 redirects without a word where to.
    if "redirect without LOCATION" in str(exc):
        return REDIRECTED
    match = re.search(r"non-2xx status code: (\d{3})", str(exc))
    return int(match[1]) if match else None


def _retry_after_s(exc: BaseException) -> float | None:
    """How long a server asks to wait, where its answer's headers are to be had: obstore drops them."""
    answer: Any = getattr(exc, "response", None)
    if isinstance(answer, dict):
        headers: Any = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    else:
        headers = getattr(exc, "headers", None) or getattr(answer, "headers", None) or {}
    text = str(headers.get("Retry-After") or headers.get("retry-after") or "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _said(exc: BaseException, status: int) -> str:
    told = _told(exc)
    return f"{_STATUS_WORDS.get(status, 'the server failed')} ({status}{', ' + told if told else ''})"


def _told(exc: BaseException) -> str:
    """The server's own words: S3 has a code and a message, which botocore has read, and which obstore shows as XML."""
    text, answer = str(exc), getattr(exc, "response", None)
    if isinstance(answer, dict):
        error = answer.get("Error", {})
        words = [error.get("Code"), error.get("Message")]
    else:
        words = [
            found[1] for found in (re.search(rf"<{tag}>([^<]+)</{tag}>", text) for tag in ("Code", "Message")) if found
        ]
    if not words:
        told = getattr(exc, "message", None) or text
        # Of a whole page, and of the URL that stands before it anyway, nothing is told.
        words = [told] if isinstance(told, str) and len(told) < MOST_TOLD and not re.search(r"\n|://", told) else []
    return ": ".join(dict.fromkeys(word[:MOST_TOLD] for word in words if word))


_BROKEN = (
    ("kind: Timeout|TimeoutError", "the answer did not come in time"),
    ("ConnectionReset", "the connection was reset"),
    ("IncompleteBody|UnexpectedEof|ClientPayloadError", "the connection was closed in the middle of the answer"),
    ("IncompleteMessage|ServerDisconnected|ConnectionClosedError", "the connection was closed before an answer"),
    ("UnexpectedRange", "a short answer"),
)
"""What stands in a client's exception or is its name, and what it means; obstore's texts run over many lines."""


def _line(exc: BaseException) -> str:
    """What an exception says, in one line, with the system's error at its root."""
    text = str(exc)
    if found := next((words for mark, words in _BROKEN if re.search(mark, f"{type(exc).__name__}: {text}")), None):
        return found
    first, _, behind = text.partition("\n")
    if type(exc).__module__.startswith("obstore"):
        connect = re.search(r'(?:message|error): "([^"]+)"', behind) if "kind: Connect," in behind else None
        return connect[1] if connect else first.strip()
    *_, root = _causes(exc)
    if root is not exc and str(root) and str(root) not in first:
        first = f"{first or type(exc).__name__}: {str(root).splitlines()[0]}"
    return first.strip() or type(exc).__name__
