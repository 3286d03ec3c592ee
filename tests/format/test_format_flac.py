"""flac: how seconds are cut into frames, and where the frames of a file begin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.errors import UsageError
from shardkit.format.flac import block_samples, frames_offset


@given(st.integers(100, 400_000))
def test_frames_divide_the_second(rate_hz):
    """The largest divisor of 256 or more within the streamable subset, else within the format; else UsageError."""
    fitting = [block for block in range(min(256, rate_hz), 65536) if rate_hz % block == 0]
    if not fitting:
        with pytest.raises(UsageError, match=f"{rate_hz} Hz.*--audio-rate"):
            block_samples(rate_hz)
        return
    assert block_samples(rate_hz) == max([block for block in fitting if block <= 4608] or fitting)


@pytest.mark.parametrize(("rate_hz", "block"), [(16000, 4000), (44100, 4410), (22050, 4410), (44101, 44101)])
def test_usual_rates_have_usual_frames(rate_hz, block):
    """The largest divisor within the streamable subset; a whole second where there is none."""
    assert block_samples(rate_hz) == block


def test_frames_begin_behind_all_metadata():
    """The offset is that of the first byte behind the block that is marked as the last."""
    assert frames_offset(b"fLaC" + b"\x00\x00\x00\x02ab" + b"\x84\x00\x00\x03abc" + b"\xff\xf8") == 4 + 6 + 7


@pytest.mark.parametrize("data", [b"", b"RIFF" + bytes(60), b"fLaC", b"fLaC\x00\x00\x00\x22" + bytes(34)])
def test_bytes_that_are_no_flac_file_have_no_frames(data):
    """Without the marker, or cut in its metadata, ValueError."""
    with pytest.raises(ValueError, match="FLAC file"):
        frames_offset(data)
