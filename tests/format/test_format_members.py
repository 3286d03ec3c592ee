"""Members and digests: WAV, msgpack and xxh3, read by others' readers."""

import io
import struct
import wave

import msgpack
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from shardkit.clip import Event
from shardkit.format.digest import file_digest, xxh3
from shardkit.format.message import encode_message
from shardkit.format.record import AudioLayout, Record, VideoLayout
from shardkit.format.wav import WAV_HEADER_BYTES, encode_wav, pcm_wav, second_digests
from shardkit.taxonomy import UNKNOWN, LabelSet, Level

_pcm = st.integers(1, 2).flatmap(
    lambda channels: st.lists(
        st.lists(st.integers(-(2**15), 2**15 - 1), min_size=channels, max_size=channels), min_size=1, max_size=40
    )
)


@given(_pcm, st.sampled_from([8, 16000, 48000]))
def test_a_wav_member_is_read_back_by_the_standard_library(samples, rate_hz):
    """Samples, channels and rate come back as they went in, and the samples begin at byte 44."""
    pcm = np.array(samples, dtype=np.int16)
    data = encode_wav(pcm, rate_hz=rate_hz)
    with wave.open(io.BytesIO(data)) as file:
        read = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        assert (file.getframerate(), read.tolist()) == (rate_hz, samples)
    assert data[WAV_HEADER_BYTES:] == pcm.astype("<i2").tobytes()


@given(_pcm)
def test_every_second_has_its_digest(samples):
    """At 8 samples a second, digest i is that of samples 8i to 8i + 8; the last second may be short."""
    pcm = np.array(samples, dtype="<i2")
    digests = second_digests(encode_wav(pcm, rate_hz=8), rate_hz=8, channels=pcm.shape[1])
    assert digests == [xxhash.xxh3_64_intdigest(pcm[at : at + 8].tobytes()) for at in range(0, len(pcm), 8)]


@given(_pcm, st.sampled_from([8, 16000]), st.lists(st.binary(max_size=9), max_size=3))
def test_plain_pcm_is_found_in_wav_files_of_others(samples, rate_hz, chunks):
    """Behind any other chunks, of odd lengths too; its seconds have the digests that ours would have."""
    pcm = np.array(samples, dtype="<i2")
    ours = encode_wav(pcm, rate_hz=rate_hz)
    extra = b"".join(b"LIST" + len(chunk).to_bytes(4, "little") + chunk + bytes(len(chunk) % 2) for chunk in chunks)
    data = ours[:12] + extra + ours[12:36] + extra + ours[36:] + extra
    found = pcm_wav(data)
    assert found == (rate_hz, pcm.shape[1], len(ours[:44]) + 2 * len(extra), len(pcm))
    stored = data[found.data_offset :][: pcm.nbytes]
    assert stored == pcm.tobytes()
    digests = second_digests(
        data, rate_hz=rate_hz, channels=found.channels, data_offset=found.data_offset, samples=found.samples
    )
    assert digests == second_digests(ours, rate_hz=rate_hz, channels=found.channels)


def _wav(*, tag: int = 1, bits: int = 16, frame_bytes: int = 2, subtype: bytes = b"", data_bytes: int = 4) -> bytes:
    fmt = struct.pack("<HHIIHH", tag, 1, 8, 16, frame_bytes, bits) + subtype
    chunks = struct.pack("<4sI", b"fmt ", len(fmt)) + fmt + struct.pack("<4sI", b"data", data_bytes) + bytes(4)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks


_PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")
_FLOAT_GUID = b"\x03" + _PCM_GUID[1:]


def test_the_long_form_of_the_format_is_pcm_too():
    """WAVE_FORMAT_EXTENSIBLE with the subtype PCM, as written for some recorders."""
    head = struct.pack("<HHI", 22, 16, 4)
    assert pcm_wav(_wav(tag=0xFFFE, subtype=head + _PCM_GUID)) == (8, 1, 68, 2)
    assert pcm_wav(_wav(tag=0xFFFE, subtype=head + _FLOAT_GUID)) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        _wav(tag=3, bits=32, frame_bytes=4),
        _wav(bits=24, frame_bytes=3),
        _wav(bits=8, frame_bytes=1),
        _wav(data_bytes=6),
        _wav(data_bytes=0xFFFFFFFF),
        _wav()[:30],
        _wav()[:12] + _wav()[36:],
        b"RIFX" + _wav()[4:],
    ],
    ids=["empty", "cut", "float", "24 bits", "8 bits", "short", "streamed", "no data", "no format", "big-endian"],
)
def test_what_is_not_plain_pcm_or_not_all_there_is_none(data):
    """FFmpeg knows what to do with those."""
    assert pcm_wav(data) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_a_wav_file_or_none(data):
    """Never an error."""
    pcm_wav(b"RIFF\0\0\0\0WAVE" + data)


def test_silence_of_no_length_has_no_seconds():
    """An empty WAV file has a header and no digest."""
    data = encode_wav(np.empty((0, 1), dtype=np.int16), rate_hz=16000)
    assert len(data) == WAV_HEADER_BYTES
    assert second_digests(data, rate_hz=16000, channels=1) == []


@given(st.binary(max_size=300))
def test_digests_are_plain_xxh3(data):
    """What others' tools compute: xxh3_64 of members, xxh3_128 of files."""
    assert xxh3(data) == xxh3(np.frombuffer(data, np.uint8)) == xxhash.xxh3_64_intdigest(data)
    assert file_digest(data) == xxhash.xxh3_128_hexdigest(data)


def test_a_message_is_self_contained():
    """Class names stand beside ids for all kinds of label sets and for events; unknown has no name."""
    label_sets = (
        LabelSet("one", "single", (Level("one", ("a", "b")),)),
        LabelSet("many", "multi", (Level("many", ("x", "y", "z")),)),
        LabelSet("tree", "hierarchy", (Level("top", ("p",)), Level("leaf", ("q", "r"))), ((0, 0),)),
    )
    record = Record(
        key="k_0",
        row=1,
        source_id="k",
        source="k.mp4",
        source_start_s=30.0,
        duration_s=10.0,
        split="train",
        video=VideoLayout(96, 128, (0,), (9,), (1,), (0.04,)),
        audio=AudioLayout(16000, 1, 160000, 44, (2,)),
        labels={"one": (UNKNOWN,), "many": (0, 2), "tree": (0, 1)},
        events=(Event(1.0, 2.0, 0, "audio"),),
        flags=("still",),
        columns={"note": "é", "year": 1999},
    )
    message = encode_message(
        record, label_sets=label_sets, event_classes=("bang",), video_codec="mjpeg", audio_codec="pcm"
    )
    assert msgpack.unpackb(message) == {
        "key": "k_0",
        "source_id": "k",
        "source": "k.mp4",
        "source_start_s": 30.0,
        "duration_s": 10.0,
        "split": "train",
        "labels": {
            "one": {"kind": "single", "ids": [UNKNOWN], "names": [None]},
            "many": {"kind": "multi", "ids": [0, 2], "names": ["x", "z"]},
            "tree": {"kind": "hierarchy", "ids": [0, 1], "names": ["p", "r"]},
        },
        "events": [{"start_s": 1.0, "end_s": 2.0, "class_id": 0, "class": "bang", "modality": "audio"}],
        "flags": ["still"],
        "columns": {"note": "é", "year": 1999},
        "video": {"codec": "mjpeg", "height": 96, "width": 128, "frame_time_s": [0.04]},
        "audio": {"codec": "pcm", "rate_hz": 16000, "channels": 1, "samples": 160000},
    }
