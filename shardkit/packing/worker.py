"""The pack worker process.

Media files are decoded here and nowhere else, since a damaged one can hang or end the process that decodes it. What is
at a URL is fetched here too, into a temporary folder that the command line names.
"""

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardkit.clip import Reason
from shardkit.decoding.clip import RejectedClipError
from shardkit.errors import ShardkitError
from shardkit.isolation.serving import Answer, Request, internal_error, serve
from shardkit.media.ffmpeg_log import silence_ffmpeg
from shardkit.packing.clip_media import pack_media
from shardkit.packing.settings import PackSettings

if TYPE_CHECKING:
    from shardkit.packing.fetched_sources import FetchedSources

FETCH_STALL_S = 300.0
"""For eight megabytes, retries included; clients give up after a minute without a byte."""
CLEAR_TRIES = 10


def answer(request: Request, settings: PackSettings) -> Answer:
    """The packed media of a request, or the reason and detail of a reject.

    Args:
        request: `path`, `start_s` and `end_s`; `is_background` where a file may end before `end_s`.
        settings: What to make of it.
    """
    try:
        media = pack_media(
            request["path"],
            request["start_s"],
            request["end_s"],
            settings,
            may_end_early=request.get("is_background", False),
        )
    except RejectedClipError as exc:
        return {"reason": exc.reason.value, "detail": str(exc)}
    except Exception as exc:  # noqa: BLE001 - what one file does must not end the packing
        return internal_error(Path(request["path"]).name, exc)
    return media.to_wire()


class _FetchingAnswer:
    """Answers requests for sources at a URL: chunk by chunk until a source is here, then as for a local one."""

    def __init__(self, content: dict[str, Any], scratch: Path) -> None:
        self._settings = PackSettings.from_json(content["settings"])
        self._folders = {name: content[name] for name in ("media", "background") if content[name]}
        self._scratch = scratch
        self._sources: dict[str, FetchedSources | None] = {}
        """Of each folder at a URL that was asked for; None until its client is made."""

    def __call__(self, request: Request) -> Answer:
        name = "background" if request.get("is_background") else "media"
        if name not in self._folders:
            return answer(request, self._settings)
        if name not in self._sources:
            # Before the client is made, which takes seconds on a slow disk: none of them are the clip's.
            self._sources[name] = None
            return {"again_s": FETCH_STALL_S}
        from shardkit.storage.failures import MissingFileError  # noqa: PLC0415 - local sources cost no fsspec

        path = request["path"]
        try:
            sources = self._sources[name] or _fetched_sources(self._folders[name], self._scratch / name)
            self._sources[name] = sources
            if not sources.has_begun(path):
                sources.begin(path, request["size_bytes"])
                return {"again_s": FETCH_STALL_S}
            if not sources.is_complete:
                sources.step()
                return {"again_s": None if sources.is_complete else FETCH_STALL_S}
        except MissingFileError as exc:
            return {"reason": Reason.MISSING_MEDIA.value, "detail": f"{exc}; it was there when the run began"}
        except ShardkitError as exc:
            return {"storage_error": str(exc)}
        return answer(request | {"path": sources.copy}, self._settings)


def _fetched_sources(media: dict[str, Any], scratch: Path) -> "FetchedSources":
    from shardkit.packing.fetched_sources import FetchedSources  # noqa: PLC0415
    from shardkit.storage.locations import Location  # noqa: PLC0415

    return FetchedSources(Location(**media), scratch)


def _answering(content: dict[str, Any], scratch: Path | None) -> "partial[Answer] | _FetchingAnswer":
    if scratch is not None:
        return _FetchingAnswer(content, scratch)
    return partial(answer, settings=PackSettings.from_json(content["settings"]))


def _clear(scratch: Path) -> None:
    # A source that is being fetched meanwhile may come into the folder behind whoever empties it.
    for _ in range(CLEAR_TRIES):
        shutil.rmtree(scratch, ignore_errors=True)
        if not scratch.exists():
            return


def main() -> None:
    """Packs until standard input is closed."""
    silence_ffmpeg()
    scratch = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    serve(
        lambda content: _answering(content, scratch),
        farewell=lambda: None if scratch is None else _clear(scratch),
    )


if __name__ == "__main__":
    main()
