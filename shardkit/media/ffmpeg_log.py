"""FFmpeg's own log."""

import av


def silence_ffmpeg() -> None:
    """Keeps FFmpeg off standard error: errors come as exceptions, and its remarks on every odd packet help nobody."""
    av.logging.set_level(av.logging.PANIC)
