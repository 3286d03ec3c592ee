"""flac: PCM to FLAC frames and back, second by second and to the bit."""

import io
from itertools import accumulate

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.errors import UsageError
from shardkit.format.flac import block_samples, frames_offset
from shardkit.media.errors import MediaDecodeError
from shardkit.media.flac import FlacDecoder, encode_flac

RATES_HZ = (1000, 8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000, 384000, 11999, 44101, 80018)


def sound(samples, channels=1, *, seed=0):
    """int16 [S, C]: a tone and noise."""
    random = np.random.default_rng(seed)
    tone = 9000 * np.sin(np.arange(samples) * 0.05)[:, None] + random.normal(0, 500, (samples, channels))
    return tone.astype(np.int16)


def encode(pcm, *, rate_hz):
    """A FLAC file with the frames that a data set has."""
    return encode_flac(pcm, rate_hz=rate_hz, block_samples=block_samples(rate_hz))


def decoded(data, samples, channels=1, decoder=None):
    """The samples of some FLAC frames."""
    return (decoder or FlacDecoder()).decode(data, channels=channels, samples=samples)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_every_second_is_decoded_alone_and_to_the_bit(rate_hz, channels):
    """At usual and unusual rates; the last second is shorter, by all but a few samples."""
    pcm = sound(2 * rate_hz + 7, channels)
    flac = encode(pcm, rate_hz=rate_hz)
    decoder = FlacDecoder()
    for second, data in enumerate(flac.seconds()):
        expected = pcm[second * rate_hz : (second + 1) * rate_hz]
        np.testing.assert_array_equal(decoded(data, len(expected), channels, decoder), expected)
    assert len(flac.second_bytes) == 3
    assert flac.data_offset + sum(flac.second_bytes) == len(flac.data)


@given(
    st.integers(1, 2).flatmap(
        lambda channels: st.lists(
            st.lists(st.integers(-(2**15), 2**15 - 1), min_size=channels, max_size=channels), min_size=1, max_size=600
        )
    )
)
def test_any_samples_come_back(samples):
    """Any values, any number; also through FFmpeg's own reading of the file."""
    pcm = np.array(samples, np.int16)
    flac = encode(pcm, rate_hz=256)
    frames = flac.data[flac.data_offset :]
    np.testing.assert_array_equal(decoded(frames, len(pcm), pcm.shape[1]), pcm)
    with av.open(io.BytesIO(flac.data)) as container:
        read = [frame.to_ndarray().reshape(-1, pcm.shape[1]) for frame in container.decode(audio=0)]
    np.testing.assert_array_equal(np.concatenate(read), pcm)


def test_neighbouring_seconds_are_decoded_in_one_call():
    """Any run of seconds is the samples of that run."""
    pcm = sound(5 * 8000)
    flac = encode(pcm, rate_hz=8000)
    ends = [flac.data_offset, *accumulate(flac.second_bytes, initial=flac.data_offset)][1:]
    for first, stop in ((0, 5), (1, 3), (4, 5)):
        data = np.frombuffer(flac.data, np.uint8)[ends[first] : ends[stop]]
        expected = pcm[first * 8000 : stop * 8000]
        np.testing.assert_array_equal(decoded(data, len(expected)), expected)


def test_a_file_is_an_ordinary_flac_file():
    """Rate, channels, length and checksum of the whole stand in its header; nothing of versions or the hour."""
    flac = encode(sound(24000, 2), rate_hz=16000)
    with av.open(io.BytesIO(flac.data)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.sample_rate, stream.codec_context.channels) == (
            "flac",
            16000,
            2,
        )
        assert container.duration == 1_500_000
    assert flac.data_offset == frames_offset(flac.data) < 100
    assert any(flac.data[26:42])  # the MD5
    assert b"Lav" not in flac.data


def test_the_same_samples_give_the_same_bytes():
    """Encoding is deterministic, also for samples that are not contiguous."""
    pcm = sound(20000, 2)
    assert encode(pcm, rate_hz=16000).data == encode(pcm[::-1][::-1], rate_hz=16000).data


def test_sound_takes_less_than_pcm():
    """A tone with some noise: two thirds; silence: next to nothing."""
    assert len(encode(sound(80000), rate_hz=16000).data) < 0.8 * 160000
    assert len(encode(np.zeros((80000, 1), np.int16), rate_hz=16000).data) < 1000


@pytest.mark.parametrize(
    ("pcm", "rate_hz", "block"),
    [
        (sound(100).astype(np.float32), 16000, 4000),
        (sound(100)[:, 0], 16000, 4000),
        (sound(100, 3), 16000, 4000),
        (sound(100)[:0], 16000, 4000),
        (sound(100), 16000, 4001),
        (sound(100), 16000, 8),
        (sound(100), 131072, 65536),
    ],
)
def test_what_cannot_be_encoded_is_the_callers_fault(pcm, rate_hz, block):
    """Other types, shapes, no samples, and frames that do not make up a second raise UsageError."""
    with pytest.raises(UsageError):
        encode_flac(pcm, rate_hz=rate_hz, block_samples=block)


def test_any_flipped_bit_is_an_error_and_does_not_touch_the_next_clip():
    """Frames carry checksums: no damage passes for sound, and what follows is exact."""
    random = np.random.default_rng(3)
    pcm = sound(3 * 8000)
    flac = encode(pcm, rate_hz=8000)
    decoder = FlacDecoder()
    good = flac.data[flac.data_offset :]
    for _ in range(300):
        damaged = bytearray(good)
        damaged[random.integers(len(good))] ^= 1 << int(random.integers(8))
        with pytest.raises(MediaDecodeError, match=f"FLAC of {len(good):,} bytes"):
            decoded(damaged, len(pcm), decoder=decoder)
        np.testing.assert_array_equal(decoded(good, len(pcm), decoder=decoder), pcm)


def test_without_checksums_damage_crashes_nothing_and_the_next_clip_is_exact():
    """Whoever has compared digests can do without: then damage is an error, or other samples."""
    random = np.random.default_rng(4)
    pcm = sound(2 * 8000)
    flac = encode(pcm, rate_hz=8000)
    decoder, good = FlacDecoder(verify=False), flac.data[flac.data_offset :]
    passed = 0
    for _ in range(300):
        damaged = bytearray(good)
        for _ in range(random.integers(1, 5)):
            damaged[random.integers(len(good))] = random.integers(256)
        try:
            assert decoded(damaged, len(pcm), decoder=decoder).shape == pcm.shape
            passed += 1
        except MediaDecodeError:
            pass
        np.testing.assert_array_equal(decoded(good, len(pcm), decoder=decoder), pcm)
    assert passed


@pytest.mark.parametrize("spoil", [lambda d: b"", lambda d: d[:5], lambda d: d[:-1], lambda d: b"x" * 500, bytes])
def test_cut_or_foreign_bytes_are_an_error(spoil):
    """Empty, cut and foreign bytes, and more or fewer samples than were said, raise MediaDecodeError."""
    pcm = sound(16000)
    flac = encode(pcm, rate_hz=8000)
    data = spoil(flac.data[flac.data_offset :])
    with pytest.raises(MediaDecodeError):
        decoded(data, len(pcm) + (len(data) == len(flac.data) - flac.data_offset))


def test_sound_of_other_channels_is_an_error():
    """Mono frames where stereo was said, and the other way round; the decoder goes on."""
    mono, stereo = sound(8000), sound(8000, 2)
    decoder = FlacDecoder()
    for pcm, wrong in ((mono, 2), (stereo, 1)):
        flac = encode(pcm, rate_hz=8000)
        frames = flac.data[flac.data_offset :]
        with pytest.raises(MediaDecodeError):
            decoded(frames, len(pcm), wrong, decoder)
        np.testing.assert_array_equal(decoded(frames, len(pcm), pcm.shape[1], decoder), pcm)
