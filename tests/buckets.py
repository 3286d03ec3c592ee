"""Buckets of a real S3 server on this machine, to write to."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
from started_servers import started

from benchmarks.storage.servers import S3Server, s3_server


@dataclass(frozen=True)
class Buckets:
    """A server whose buckets are the folders in one on disk: to be read there, and written to by S3 only."""

    folder: Path
    server: S3Server

    @property
    def options(self) -> dict[str, Any]:
        """The storage options that reach it."""
        # It answers a range with the checksum of the whole file.
        lenient = {"response_checksum_validation": "when_required"}
        return self.server.storage_options | {"config_kwargs": lenient}

    @property
    def arguments(self) -> tuple[str, ...]:
        """The same for the command line."""
        pairs = (
            f"key={self.server.access_key}",
            f"secret={self.server.secret_key}",
            f"client_kwargs.endpoint_url={self.server.url}",
            "config_kwargs.response_checksum_validation=when_required",
        )
        return tuple(word for pair in pairs for word in ("--storage-option", pair))

    def bucket(self, name: str) -> Path:
        """Makes a bucket; returns its folder on disk."""
        fsspec.filesystem("s3", **self.options).mkdir(name)
        return self.folder / name


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buckets]:
    """The server, empty."""
    folder = tmp_path_factory.mktemp("s3")
    with started(s3_server(folder, writable=True)) as server:
        yield Buckets(folder, server)
