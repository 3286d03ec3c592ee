"""Pack workers: clips are decoded and encoded in processes of their own, each with a deadline."""

from typing import Any

from shardkit.isolation import pool
from shardkit.packing.settings import PackSettings
from shardkit.storage.locations import Location


class IsolatedWorkers(pool.IsolatedWorkers):
    """A fixed number of pack workers: their answers are packed media, `reason` and `detail`, or a `storage_error`."""

    def __init__(
        self,
        settings: PackSettings,
        *,
        workers: int,
        clip_timeout_s: float,
        media: Location | None = None,
        background: Location | None = None,
    ) -> None:
        """Makes the workers.

        Args:
            settings: What to make of each clip.
            workers: How many.
            clip_timeout_s: After which a clip is rejected; fetching its source does not count.
            media: Where sources are fetched from, where it is a URL.
            background: The same, of background clips.
        """
        fetched = {"media": _fetched(media), "background": _fetched(background)}
        super().__init__(
            "shardkit.packing.worker",
            {"settings": settings.to_json(), **fetched},
            workers=workers,
            clip_timeout_s=clip_timeout_s,
            has_scratch=any(fetched.values()),
        )


def _fetched(folder: Location | None) -> dict[str, Any] | None:
    return None if folder is None or folder.is_local else folder.to_json()
