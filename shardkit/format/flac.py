"""KEY.flac: how sound is cut into FLAC frames, so that every second of it can be read, checked and decoded alone."""

from shardkit.errors import UsageError

SUBSET_SAMPLES = 4608
"""The longest frame that every FLAC decoder must take at the usual rates, by the format's "streamable subset"."""
SHORTEST_SAMPLES = 256
"""Below this, frame headers weigh."""
LONGEST_SAMPLES = 65535
"""The longest frame that the format has."""
MARKER = b"fLaC"


def block_samples(rate_hz: int) -> int:
    """Samples of a frame: the largest divisor of the rate, so that seconds begin with a frame.

    It is within the streamable subset where that has one of 256 samples or more.

    Raises:
        UsageError: No divisor of the rate is the length of a frame.
    """
    divisors = {d for low in range(1, int(rate_hz**0.5) + 1) if rate_hz % low == 0 for d in (low, rate_hz // low)}
    for longest in (SUBSET_SAMPLES, LONGEST_SAMPLES):
        fitting = [d for d in divisors if min(SHORTEST_SAMPLES, rate_hz) <= d <= longest]
        if fitting:
            return max(fitting)
    raise UsageError(
        f"{rate_hz} Hz: a second cannot be cut into equal FLAC frames of {SHORTEST_SAMPLES} to {LONGEST_SAMPLES} "
        "samples; choose an --audio-rate such as 48000, or --audio-codec pcm"
    )


def frames_offset(data: bytes) -> int:
    """Place of the first frame in a FLAC file, behind its metadata.

    Raises:
        ValueError: It is not a whole FLAC file.
    """
    if data[: len(MARKER)] != MARKER:
        raise ValueError("not a FLAC file")
    place, is_last = len(MARKER), False
    while not is_last:
        header = data[place : place + 4]
        if len(header) < 4:
            raise ValueError("the FLAC file ends within its metadata")
        is_last = bool(header[0] & 0x80)
        place += 4 + int.from_bytes(header[1:], "big")
    return place
