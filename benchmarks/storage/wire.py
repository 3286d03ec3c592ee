"""HTTP/1.1 as a proxy needs it: heads in the bytes in which they came, bodies passed on in blocks."""

import socket
import struct

_HEAD_BYTES = 1 << 16


class PeerGoneError(Exception):
    """The other side closed the connection, or sent what is not HTTP."""


class Stream:
    """A connection whose heads are read through a buffer."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self._buffer = b""

    def read_until(self, mark: bytes) -> bytes:
        """All up to `mark`, and the mark.

        Raises:
            PeerGoneError: It did not come within 64 KiB.
        """
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > _HEAD_BYTES or not (received := self.socket.recv(_HEAD_BYTES)):
                raise PeerGoneError
            self._buffer += received
        end += len(mark)
        found, self._buffer = self._buffer[:end], self._buffer[end:]
        return found

    def receive_into(self, view: memoryview) -> int:
        """Fills the start of `view` with what is there, one byte at least; returns how many.

        Raises:
            PeerGoneError: Nothing more comes.
        """
        if self._buffer:
            size = min(len(view), len(self._buffer))
            view[:size], self._buffer = self._buffer[:size], self._buffer[size:]
            return size
        if not (size := self.socket.recv_into(view)):
            raise PeerGoneError
        return size

    def send(self, data: bytes | memoryview, *, more: bool = False) -> None:
        """Sends all of it; `more` follows at once and may go into the same packet."""
        self.socket.sendall(data, socket.MSG_MORE if more else 0)

    def reset(self) -> None:
        """Closes with RST in the place of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Closes in order."""
        self.socket.close()


class Head:
    """The first line and the headers of a request or an answer. What is not changed stays as it came, to the byte."""

    def __init__(self, raw: bytes) -> None:
        self.start, _, fields = raw.partition(b"\r\n")
        self._fields = [line.partition(b":") for line in fields.split(b"\r\n") if line]

    @classmethod
    def read(cls, stream: Stream) -> "Head":
        """The next head.

        Raises:
            PeerGoneError: There is none.
        """
        return cls(stream.read_until(b"\r\n\r\n"))

    def __repr__(self) -> str:
        return f"Head({self.raw()!r})"

    def raw(self) -> bytes:
        """As it goes over the wire."""
        return b"\r\n".join((self.start, *map(b"".join, self._fields), b"", b""))

    def get(self, name: bytes) -> str | None:
        """The value of the header with this lower-case name."""
        return next((value.strip().decode("latin-1") for key, _, value in self._fields if key.lower() == name), None)

    def put(self, name: bytes, value: str | None) -> None:
        """Replaces the header with this lower-case name; None takes it away."""
        self._fields = [field for field in self._fields if field[0].lower() != name]
        if value is not None:
            self._fields.append((name, b":", b" " + value.encode("latin-1")))

    @property
    def words(self) -> list[str]:
        """Of the first line: method, path and version of a request; version, status and reason of an answer.

        Raises:
            PeerGoneError: They are not three.
        """
        words = self.start.decode("latin-1").split(" ", 2)
        if len(words) != 3:
            raise PeerGoneError
        return words

    @property
    def body_bytes(self) -> int | None:
        """What Content-Length says; None where there is none."""
        length = self.get(b"content-length")
        return None if length is None else int(length)

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return (self.get(b"transfer-encoding") or "").lower() == "chunked"

    @property
    def closes(self) -> bool:
        """Whether nothing comes after this message."""
        return (self.get(b"connection") or "").lower() == "close" or b"HTTP/1.0" in self.start
