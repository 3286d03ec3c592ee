"""The index worker process: members of unknown origin are decoded here, since damaged ones can hang or end it."""

from collections.abc import Callable
from typing import Any

from shardkit.decoding.clip import RejectedClipError
from shardkit.indexing.probing import probe_sample
from shardkit.indexing.sample_media import SampleMedia
from shardkit.indexing.settings import IndexSettings
from shardkit.isolation.serving import internal_error, serve
from shardkit.media.ffmpeg_log import silence_ffmpeg


def answering(data: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """From the settings to what answers requests: with a probed sample, or the reason and detail of a reject."""
    settings = IndexSettings.from_json(data)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        media = SampleMedia.from_wire(request)
        try:
            return probe_sample(media, settings).to_wire()
        except RejectedClipError as exc:
            return {"reason": exc.reason.value, "detail": str(exc)}
        except Exception as exc:  # noqa: BLE001 - what one sample does must not end the run
            return internal_error(media.name, exc)

    return answer


def main() -> None:
    """Probes until standard input is closed."""
    silence_ffmpeg()
    serve(answering)


if __name__ == "__main__":
    main()
