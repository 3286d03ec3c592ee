"""Which clips are cut from one source: those that share an id or a media file."""

from collections.abc import Sequence

from shardkit.clip import Clip


def source_names(clips: Sequence[Clip]) -> list[str]:
    """The first id, by name, of all clips of a source: those that share an id or a media file."""
    upper: dict[str, str] = {}
    first_of: dict[str, str] = {}

    def top(id: str) -> str:
        while (above := upper.setdefault(id, id)) != id:
            upper[id] = id = upper[above]
        return id

    for clip in clips:
        names = sorted((top(clip.id), top(first_of.setdefault(clip.media, clip.id) if clip.media else clip.id)))
        upper[names[1]] = names[0]
    return [top(clip.id) for clip in clips]
