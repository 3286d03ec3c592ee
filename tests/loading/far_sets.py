"""Ways to the same data sets: servers of the tests' folders, through each client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.storage.fault_proxy import RunningProxy

FSSPEC_ONLY = {"http": {"block_size": 1 << 20}, "s3": {"default_block_size": 1 << 20}}
"""Options that obstore does not know, so that fsspec's own client reads."""


@dataclass(frozen=True)
class FarServer:
    """A server of all that lies below the tests' folder, behind a proxy."""

    scheme: str
    root: Path
    proxy: RunningProxy
    options: Mapping[str, Any] = field(default_factory=dict)

    def url(self, path: Path) -> str:
        """What a file or folder is called there."""
        place = path.relative_to(self.root).as_posix()
        return f"{self.proxy.url}/{place}" if self.scheme == "http" else f"s3://{place}"

    def ways(self, path: Path, engine: str = "obstore") -> dict[str, Any]:
        """The first argument of `shardkit.open` and of `shardkit.loader`, and keywords, for a data set there."""
        options = {**self.options, **(FSSPEC_ONLY[self.scheme] if engine == "fsspec" else {})}
        return {"source": self.url(path), "storage_options": options or None}

    def asked(self, name: str) -> list[str]:
        """The ranges of files with this name that were asked for since the rules were set."""
        return [served.range for served in self.proxy.log() if served.path.endswith(f"/{name}") and served.range]
