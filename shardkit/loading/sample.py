"""Sample: one decoded clip as NumPy arrays; and `decode`, for people who stay with a `webdataset` pipeline."""

import io
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from shardkit.clip import Event, Scalar
from shardkit.errors import DataError, UsageError
from shardkit.format.npy import decode_npy
from shardkit.loading.sound import PCM_SCALE

_REMEDY = "copy the shard again, or pack the clip again"


@dataclass(frozen=True, slots=True)
class Sample:
    """One decoded clip."""

    key: str
    video: npt.NDArray[np.uint8] | None
    """uint8 [T, 3, H, W], RGB; a view of [T, H, W, 3] memory. None without a picture."""
    audio: npt.NDArray[np.float32] | None
    """float32 [C, S] in [-1, 1]. None without sound."""
    audio_rate_hz: int
    """0 without sound."""
    frame_times_s: npt.NDArray[np.float64]
    """float64 [T]: true time of each frame, in seconds from the clip's start."""
    labels: Mapping[str, npt.NDArray[Any]]
    """Label set to int64 class ids: [depth], or [number of classes that the clip has] for `multi`."""
    events: tuple[Event, ...]
    duration_s: float
    split: str
    source: str
    """Media file that the clip was cut from."""
    flags: tuple[str, ...]
    columns: Mapping[str, Scalar] = field(default_factory=dict)
    features: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Feature to the array that was packed with the clip; those that it has."""

    def __repr__(self) -> str:
        return f"Sample({', '.join(f'{f.name}={_described(getattr(self, f.name))}' for f in fields(self))})"


def _described(value: object) -> str:
    if isinstance(value, dict) and any(isinstance(item, np.ndarray) and item.ndim > 1 for item in value.values()):
        return "{" + ", ".join(f"{name}: {_described(item)}" for name, item in value.items()) + "}"
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) and value.ndim > 1 else repr(value)


def decode(sample: Mapping[str, Any]) -> Sample:
    """Decodes one raw sample of a shardkit shard as `webdataset` yields it.

    Args:
        sample: Members by extension: `mp4` or `mov`, `wav` or `flac` as bytes, `msg` as bytes or already unpacked,
            `NAME.npy` as bytes or an array; `__key__`.

    Returns:
        The clip.

    Raises:
        UsageError: It has no `msg`, so it is not a sample that shardkit packed.
        DataError: A member cannot be decoded; the message names it.

    Example:
        >>> pipeline = webdataset.WebDataset("shards/clips-000000.tar").map(shardkit.decode)  # doctest: +SKIP
    """
    key = str(sample.get("__key__", "?"))
    if "msg" not in sample:
        raise UsageError(f"sample {key!r} has no 'msg' member; only samples of `shardkit pack` are decoded")
    member = "msg"
    try:
        message = sample["msg"] if isinstance(sample["msg"], Mapping) else msgpack.unpackb(sample["msg"])
        times_s = np.asarray(message["video"]["frame_time_s"] if "video" in message else (), dtype=np.float64)
        video = audio = None
        rate_hz = 0
        for extension in ("mp4", "mov"):
            if extension in sample:
                about, member = message["video"], extension
                video = _decode_video(sample[extension], about)
        if "wav" in sample:
            member = "wav"
            audio, rate_hz = _decode_wav(sample["wav"])
        if "flac" in sample:
            about, member = message["audio"], "flac"
            audio, rate_hz = _decode_flac(sample["flac"], about), about["rate_hz"]
        features = {}
        for name in message.get("features", ()):
            member = f"{name.lower()}.npy"  # webdataset takes no notice of case
            features[name] = _decode_feature(sample[member])
        member = "msg"
        return Sample(
            key=key,
            video=None if video is None else video.transpose(0, 3, 1, 2),
            audio=audio,
            audio_rate_hz=rate_hz,
            frame_times_s=times_s,
            labels={name: np.asarray(ids["ids"], dtype=np.int64) for name, ids in message["labels"].items()},
            events=tuple(
                Event(event["start_s"], event["end_s"], event["class_id"], event["modality"])
                for event in message["events"]
            ),
            duration_s=message["duration_s"],
            split=message["split"],
            source=message["source"],
            flags=tuple(message["flags"]),
            columns=message["columns"],
            features=features,
        )
    except DataError as exc:
        raise DataError(f"sample {key!r}, member {member}: {exc}; {_REMEDY}") from exc
    except (KeyError, TypeError, AttributeError, ValueError, wave.Error, EOFError) as exc:
        what = f"cannot be decoded: {exc!r}: it is damaged, or was not packed by shardkit"
        raise DataError(f"sample {key!r}, member {member} {what}; {_REMEDY}") from exc


def _decode_video(data: bytes, about: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    # `import shardkit` imports no decoder.
    from shardkit.media.demux import demux_packets  # noqa: PLC0415
    from shardkit.media.h264 import H264Decoder  # noqa: PLC0415
    from shardkit.media.jpeg import decode_jpeg_into  # noqa: PLC0415
    from shardkit.media.raw_video import decode_raw  # noqa: PLC0415

    packets, codec = demux_packets(data), about["codec"]
    video = np.empty((len(packets), about["height"], about["width"], 3), dtype=np.uint8)
    if codec == "mjpeg":
        for packet, frame in zip(packets, video, strict=True):
            decode_jpeg_into(packet, frame)
    elif codec == "h264":
        H264Decoder().decode(packets, [True] * len(packets), out=video)
    elif codec == "raw":
        decode_raw(packets, out=video)
    else:
        raise ValueError(f"unknown video codec {codec!r}")
    return video


def _decode_feature(said: Any) -> npt.NDArray[np.float32]:
    array = said if isinstance(said, np.ndarray) else decode_npy(said)
    return array.astype(np.float32)


def _decode_flac(data: bytes, about: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    from shardkit.format.flac import frames_offset  # noqa: PLC0415
    from shardkit.media.flac import FlacDecoder  # noqa: PLC0415

    frames = memoryview(data)[frames_offset(data) :]
    pcm = FlacDecoder().decode(frames, channels=about["channels"], samples=about["samples"])
    return np.ascontiguousarray(pcm.T * PCM_SCALE)


def _decode_wav(data: bytes) -> tuple[npt.NDArray[np.float32], int]:
    with wave.open(io.BytesIO(data)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, file.getnchannels())
        return np.ascontiguousarray(pcm.T * PCM_SCALE), file.getframerate()
