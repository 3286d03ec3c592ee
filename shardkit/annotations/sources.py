"""Which clips are cut from one source: those that share an id or a media file."""

from collections.abc import Iterable


def source_names(clips: Iterable[tuple[str, str | None]]) -> list[str]:
    """The source of every clip: the first, by name, of the ids that its clips have.

    Args:
        clips: Of each its id, and its media file, where that is known.
    """
    clips = list(clips)
    upper: dict[str, str] = {}
    first_of: dict[str, str] = {}

    def top(id: str) -> str:
        while (above := upper.setdefault(id, id)) != id:
            upper[id] = id = upper[above]
        return id

    for id, media in clips:
        names = sorted((top(id), top(first_of.setdefault(media, id) if media else id)))
        upper[names[1]] = names[0]
    return [top(id) for id, _ in clips]
