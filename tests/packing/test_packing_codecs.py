"""Data sets in other codecs than JPEG and PCM: the same clips, and readable by the same readers."""

import csv
import gc
import io
import json
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path

import decord
import msgpack
import numpy as np
import pyarrow as pa
import pytest
import webdataset
from pack_runs import contents

import shardkit
from shardkit.clip import Clip, Reason
from shardkit.decoding.clip import RejectedClipError
from shardkit.errors import CorruptShardError, UsageError
from shardkit.format.digest import xxh3
from shardkit.format.index import decode_batch, encode_index
from shardkit.media.flac import FlacDecoder
from shardkit.media.h264 import H264Decoder
from shardkit.media.jpeg import psnr_db
from shardkit.packing import clip_media
from shardkit.packing.clip_media import pack_media
from shardkit.packing.settings import H264, Mjpeg, PackSettings, Raw, video_settings
from shardkit.packing.shard_plan import Candidate, plan_shards
from shardkit.packing.sources import Located
from shardkit.planning.sampling import FrameSampling

# webdataset leaves closing its files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

FRAMES, SIZE, SECONDS = 11, 64, 2.5
CODECS = [("mjpeg", "pcm"), ("h264", "flac"), ("raw", "flac"), ("h264", "pcm")]
EXTENSION = {"mjpeg": "mp4", "h264": "mp4", "raw": "mov", "pcm": "wav", "flac": "flac"}


@pytest.fixture(scope="module")
def table(material, tmp_path_factory):
    """Six spans of the good files."""
    path = tmp_path_factory.mktemp("codecs") / "spans.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "media", "start_s", "end_s", "label"))
        for place, row in enumerate([row for row in material.rows if row.fault is None][:6]):
            writer.writerow((f"clip{place}", row.file_name, place, place + SECONDS, row.leaf.name))
    return path


@pytest.fixture(scope="module")
def pack(material, table, tmp_path_factory):
    """Packs the spans: (video codec, audio codec, other options) to the folder, each once."""
    made: dict[object, Path] = {}

    def pack(video_codec, audio_codec, **options):
        asked = (video_codec, audio_codec, *sorted(options.items()))
        if asked not in made:
            made[asked] = tmp_path_factory.mktemp("packed") / "shards"
            shardkit.pack(
                table,
                media=material.media,
                out=made[asked],
                video_codec=video_codec,
                audio_codec=audio_codec,
                **{"frames": FRAMES, "size": SIZE, "audio_rate": 8000, "workers": 1} | options,
            )
        return made[asked]

    yield pack
    gc.collect()


def samples(folder):
    """The clips as a webdataset pipeline decodes them, by key."""
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    return {s.key: s for s in webdataset.WebDataset(shards, shardshuffle=False).map(shardkit.decode)}


def raw_samples(folder):
    """The members as they are, by key."""
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    return {s["__key__"]: s for s in webdataset.WebDataset(shards, shardshuffle=False)}


def rows(folder):
    """The rows of the index."""
    return decode_batch((folder / "index.arrow").read_bytes(), path="index.arrow").to_pylist()


def frames_of(sample):
    """uint8 [T, H, W, 3]."""
    return np.ascontiguousarray(sample.video.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(("video_codec", "audio_codec"), CODECS)
def test_members_manifest_and_message_say_the_codec_in_the_same_words(pack, video_codec, audio_codec):
    """The words of the options stand in the settings and in every message; the extension follows."""
    folder = pack(video_codec, audio_codec)
    settings = json.loads((folder / "dataset.json").read_text())["settings"]
    assert (settings["video_codec"], settings["audio_codec"]) == (video_codec, audio_codec)
    for sample in raw_samples(folder).values():
        assert {name for name in sample if not name.startswith("__")} == {
            EXTENSION[video_codec],
            EXTENSION[audio_codec],
            "msg",
        }
        message = msgpack.unpackb(sample["msg"])
        assert (message["video"]["codec"], message["audio"]["codec"]) == (video_codec, audio_codec)


def test_settings_of_a_codec_stand_beside_its_name(pack):
    """The manifest has what decided the bytes, and nothing that did not."""

    def settings(*codecs):
        return json.loads((pack(*codecs) / "dataset.json").read_text())["settings"]

    assert {name: settings("mjpeg", "pcm")[name] for name in ("quality", "chroma")} == {"quality": 90, "chroma": "420"}
    assert {name: settings("h264", "flac")[name] for name in ("crf", "keyint")} == {"crf": 13, "keyint": 8}
    others = set(settings("raw", "flac"))
    assert set(settings("mjpeg", "pcm")) == others | {"quality", "chroma"}
    assert set(settings("h264", "flac")) == others | {"crf", "keyint"}


def test_frames_are_the_same_in_every_codec(pack):
    """Raw frames are the scaled source; H.264 and JPEG come near, frame by frame, in order."""
    raw, jpeg, h264 = (samples(pack(*codecs)) for codecs in (("raw", "flac"), ("mjpeg", "pcm"), ("h264", "flac")))
    assert sorted(raw) == sorted(jpeg) == sorted(h264)
    for key, sample in raw.items():
        assert sample.video.shape[0] == FRAMES
        np.testing.assert_array_equal(sample.frame_times_s, h264[key].frame_times_s)
        for exact, *coded in zip(frames_of(sample), frames_of(jpeg[key]), frames_of(h264[key]), strict=True):
            assert min(psnr_db(frame, exact) for frame in coded) > 30


def test_sound_is_the_same_in_every_codec(pack):
    """FLAC is PCM to the bit, at the rate asked for and at each source's own, in mono and in stereo."""
    for options in ({}, {"audio_rate": "native", "audio_channels": 2}):
        pcm, flac = samples(pack("mjpeg", "pcm", **options)), samples(pack("h264", "flac", **options))
        for key, sample in pcm.items():
            np.testing.assert_array_equal(sample.audio, flac[key].audio)
            assert sample.audio_rate_hz == flac[key].audio_rate_hz
            assert np.abs(sample.audio).max() > 0.01


@pytest.mark.parametrize("video_codec", ["h264", "raw"])
def test_decord_in_a_webdataset_pipeline_reads_every_frame(pack, video_codec):
    """The frames that decord finds in the member are those of `shardkit.decode`, in order."""
    folder = pack(video_codec, "flac")
    decoded = samples(folder)
    for key, sample in raw_samples(folder).items():
        reader = decord.VideoReader(io.BytesIO(sample[EXTENSION[video_codec]]), num_threads=1)
        frames = reader.get_batch(range(len(reader))).asnumpy()
        assert np.abs(frames.astype(int) - frames_of(decoded[key])).max() <= (video_codec == "h264")


def test_raw_packets_are_the_pixels_where_the_index_says(pack):
    """Offset, size and digest of every packet; its bytes are the frame."""
    folder = pack("raw", "flac")
    members, decoded = raw_samples(folder), samples(folder)
    for row in rows(folder):
        member = members[row["key"]]["mov"]
        packets = zip(row["packet_offset"], row["packet_bytes"], row["packet_xxh3"], strict=True)
        for frame, (offset, size, digest) in zip(frames_of(decoded[row["key"]]), packets, strict=True):
            assert member[offset : offset + size] == frame.tobytes()
            assert xxh3(frame.tobytes()) == digest


def test_h264_packets_are_decoded_from_any_keyframe_on(pack):
    """The index and `keyint` are enough to decode frames 8 to 10 without the container or the frames before."""
    folder = pack("h264", "flac")
    members, decoded = raw_samples(folder), samples(folder)
    decoder = H264Decoder()
    for row in rows(folder):
        member = members[row["key"]]["mp4"]
        places = [slice(at, at + size) for at, size in zip(row["packet_offset"], row["packet_bytes"], strict=True)]
        assert [xxh3(member[place]) for place in places] == row["packet_xxh3"]
        out = np.zeros((2, row["height"], row["width"], 3), np.uint8)
        decoder.decode([member[place] for place in places[8:11]], [True, False, True], out=out)
        np.testing.assert_array_equal(out, frames_of(decoded[row["key"]])[[8, 10]])


def test_every_second_of_flac_is_found_by_the_index(pack):
    """Bytes and digest of each second; each is decoded alone. For PCM they follow from the rate, and are left out."""
    folder = pack("h264", "flac")
    members, decoded = raw_samples(folder), samples(folder)
    decoder = FlacDecoder()
    for row in rows(folder):
        member, place = members[row["key"]]["flac"], row["audio_data_offset"]
        pcm = np.rint(decoded[row["key"]].audio.T * 32768).astype(np.int16)
        assert len(row["second_bytes"]) == len(row["second_xxh3"]) == 3
        for second, (size, digest) in enumerate(zip(row["second_bytes"], row["second_xxh3"], strict=True)):
            data, expected = member[place : place + size], pcm[second * 8000 : (second + 1) * 8000]
            assert xxh3(data) == digest
            np.testing.assert_array_equal(decoder.decode(data, channels=1, samples=len(expected)), expected)
            place += size
        assert place == len(member)
    assert all(row["second_bytes"] == [] for row in rows(pack("mjpeg", "pcm")))


@pytest.mark.parametrize("video_codec", ["h264", "raw"])
def test_the_same_clips_make_the_same_bytes(pack, video_codec):
    """Whatever the number of workers."""
    assert contents(pack(video_codec, "flac")) == contents(pack(video_codec, "flac", workers=2))


@pytest.mark.parametrize("video_codec", ["mjpeg", "h264", "raw"])
@pytest.mark.parametrize("fit", ["short", "square"])
def test_odd_sizes_are_made_even_where_the_codec_wants_it(pack, video_codec, fit):
    """At --size 65 JPEGs are 65 high; H.264 and raw frames are 64, and the manifest says what was asked for."""
    folder = pack(video_codec, "flac", size=65, fit=fit, frames=2)
    assert json.loads((folder / "dataset.json").read_text())["settings"]["size"] == 65
    for row in rows(folder):
        assert row["height"] == (65 if video_codec == "mjpeg" else 64)
        assert fit == "short" or row["width"] == row["height"]
    for sample in samples(folder).values():
        assert sample.video.shape[2] == (65 if video_codec == "mjpeg" else 64)


def test_coarse_h264_is_flagged_and_raw_never(pack):
    """What is stored is compared with its source: `low_fidelity` below 36 dB."""
    assert all("low_fidelity" in row["flags"] for row in rows(pack("h264", "flac", crf=51)))
    assert not any("low_fidelity" in row["flags"] for row in rows(pack("raw", "flac")))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"video_codec": "h265"}, "video_codec='h265': one of mjpeg, h264, raw"),
        ({"audio_codec": "opus"}, "audio_codec='opus': one of pcm, flac"),
        ({"video_codec": "h264", "quality": 80}, "quality=80 is for video_codec='mjpeg'"),
        ({"video_codec": "raw", "chroma": "420"}, "chroma='420' is for video_codec='mjpeg'"),
        ({"crf": 20}, "crf=20 is for video_codec='h264', and this is 'mjpeg'"),
        ({"video_codec": "raw", "crf": 20}, "crf=20 is for video_codec='h264'"),
        ({"video_codec": "h264", "crf": 0}, "crf=0: a whole number from 1 to 51"),
        ({"quality": 101}, "quality=101"),
        ({"audio_codec": "flac", "audio_rate": 131071}, "131071 Hz: .* --audio-codec pcm"),
    ],
    ids=str,
)
def test_options_of_another_codec_are_refused(material, table, tmp_path, options, words):
    """UsageError with the option, before anything is written."""
    with pytest.raises(UsageError, match=words):
        shardkit.pack(table, media=material.media, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "video", [Mjpeg(), Mjpeg(quality=75, chroma="444"), H264(), H264(crf=30, keyint=4), Raw()], ids=str
)
def test_settings_come_back_from_their_json(video):
    """What the workers and the manifest get is all of it."""
    settings = PackSettings(FrameSampling.count(3), video=video, audio_codec="flac", audio_rate_hz=None)
    assert PackSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_a_shard_is_planned_for_the_size_of_its_codec(pack):
    """Raw clips are few in a shard, H.264 clips many; and the estimate is not far from what is written."""
    located = [Located(Clip(row=row, id=f"k{row}"), f"k{row}.mp4", 0.0, 10.0) for row in range(2000)]
    candidates = [Candidate(each.clip.id, "", each) for each in located]

    def shard_clips(codec):
        video = video_settings(codec)
        return plan_shards(candidates, PackSettings(FrameSampling.count(16), video=video), name="clips").shard_clips

    assert 10 * shard_clips("raw") < 3 * shard_clips("mjpeg") < 6 * shard_clips("h264")


def test_raw_clips_beyond_two_gigabytes_are_rejected_with_a_remedy(material, monkeypatch):
    """Rather than held in memory several times over."""
    source = str(material.media / next(row.file_name for row in material.rows if row.fault is None))
    settings = PackSettings(FrameSampling.count(4), size=SIZE, video=Raw())
    monkeypatch.setattr(clip_media, "MAX_VIDEO_BYTES", 50_000)
    with pytest.raises(RejectedClipError, match=r"4 raw frames of \d+x64 are .* GB.*--video-codec mjpeg") as rejected:
        pack_media(source, 0.0, 2.0, settings)
    assert rejected.value.reason is Reason.TOO_LONG


def test_a_source_whose_rate_flac_cannot_cut_is_rejected_with_a_remedy(tmp_path):
    """131,071 Hz is a prime: kept as it is, no FLAC frames make up a second."""
    with wave.open(str(tmp_path / "prime.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(131071)
        file.writeframes(np.arange(131071, dtype="<i2").tobytes())
    settings = PackSettings(FrameSampling.count(1), audio_codec="flac", audio_rate_hz=None, require="audio")
    with pytest.raises(RejectedClipError, match=r"prime\.wav: 131071 Hz.*--audio-rate"):
        pack_media(str(tmp_path / "prime.wav"), None, None, settings)
    resampled = pack_media(str(tmp_path / "prime.wav"), None, None, replace(settings, audio_rate_hz=16000))
    assert resampled.audio.samples == 16000


def test_an_index_without_bytes_of_seconds_is_refused(pack, tmp_path):
    """A data set of before: CorruptShardError with the column, and what to do."""
    batch = decode_batch((pack("mjpeg", "pcm") / "index.arrow").read_bytes(), path="index.arrow")
    old = batch.select([name for name in batch.schema.names if name != "second_bytes"])
    with pytest.raises(CorruptShardError, match=r"'second_bytes'.*pack it again"):
        decode_batch(encode_index(pa.RecordBatch.from_arrays(old.columns, schema=old.schema)), path="index.arrow")


def test_the_command_line_packs_shows_and_relabels_any_codec(material, table, tmp_path):
    """`pack --video-codec h264 --audio-codec flac`, `info`, `relabel`: as ever."""

    def run(*arguments):
        command = [sys.executable, "-m", "shardkit", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    out = tmp_path / "out"
    command = (
        "pack",
        table,
        "--media",
        material.media,
        "--out",
        out,
        "--frames",
        "3",
        "--size",
        "32",
        "--workers",
        "1",
    )
    said = run(*command, "--quality", "80", "--video-codec", "h264")
    assert (said.returncode, "quality=80" in said.stderr) == (2, True)
    said = run(*command, "--video-codec", "h264", "--crf", "20", "--audio-codec", "flac")
    assert said.returncode == 0, said.stderr
    settings = json.loads(run("info", out, "--json").stdout)["settings"]
    assert (settings["video_codec"], settings["crf"], settings["audio_codec"]) == ("h264", 20, "flac")
    said = run("relabel", out, table, "--split", "50/50")
    assert "relabelled 6 clips" in said.stdout
    assert all(row["second_bytes"] for row in rows(out))
