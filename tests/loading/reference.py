"""What a loader should give, worked out apart from it.

Members are taken out of the tars, decoded by simplejpeg, decord, FFmpeg and the standard library, and cut by NumPy; the
draws are those of `shardkit.planning.hashing`.
"""

import io
import tarfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import decord
import msgpack
import numpy as np
import simplejpeg

from shardkit.planning.hashing import Domain, uniform, uniform_pair

MODALITIES = ("audio", "visual", "av")


@dataclass(frozen=True, eq=False)
class Stored:
    """A clip as it stands in the tar."""

    frames: np.ndarray | None
    """uint8 [T, H, W, 3]."""
    times_s: np.ndarray
    pcm: np.ndarray | None
    """int16 [S, C]."""
    rate_hz: int
    duration_s: float
    events: list[tuple[float, float, int, int]]


def stored_clips(folder: Path) -> dict[str, Stored]:
    """All clips of a packed data set, by key."""
    members: dict[str, dict[str, bytes]] = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                members.setdefault(key, {})[kind] = tar.extractfile(member).read()
    return {key: _stored(kinds) for key, kinds in members.items()}


def _stored(kinds: dict[str, bytes]) -> Stored:
    message = msgpack.unpackb(kinds["msg"])
    video = kinds.get("mp4", kinds.get("mov"))
    pcm, rate_hz = _pcm(kinds)
    return Stored(
        frames=None if video is None else _frames(video),
        times_s=np.array(message["video"]["frame_time_s"] if video else ()),
        pcm=pcm,
        rate_hz=rate_hz,
        duration_s=message["duration_s"],
        events=[
            (event["start_s"], event["end_s"], event["class_id"], MODALITIES.index(event["modality"]))
            for event in message["events"]
        ],
    )


def _frames(video: bytes) -> np.ndarray:
    with av.open(io.BytesIO(video)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        if container.streams.video[0].codec_context.name == "mjpeg":
            return np.stack([simplejpeg.decode_jpeg(packet) for packet in packets])
    reader = decord.VideoReader(io.BytesIO(video), ctx=decord.cpu(0), num_threads=1)
    return reader.get_batch(range(len(packets))).asnumpy()


def _pcm(kinds: dict[str, bytes]) -> tuple[np.ndarray | None, int]:
    if "wav" in kinds:
        with wave.open(io.BytesIO(kinds["wav"])) as file:
            return np.frombuffer(file.readframes(-1), "<i2").reshape(-1, file.getnchannels()), file.getframerate()
    if "flac" in kinds:
        with av.open(io.BytesIO(kinds["flac"])) as container:
            stream = container.streams.audio[0]
            blocks = [frame.to_ndarray().reshape(-1, stream.channels) for frame in container.decode(stream)]
            return np.concatenate(blocks), stream.rate
    return None, 0


@dataclass(frozen=True)
class Place:
    """Where a view lies: shares of the room there is, from 0 to 1."""

    window: float = 0.5
    frames: float = 0.5
    crop: tuple[float, float] = (0.5, 0.5)
    flip: bool = False
    frames_drawn: bool = False
    crop_drawn: bool = False


def drawn_place(options: dict[str, Any], *, epoch: int, position: int, view: int) -> Place:
    """The place of a view that is drawn by (seed, epoch, position, view)."""

    def name(domain: Domain) -> tuple[int, ...]:
        return options.get("seed", 0), epoch, domain, view

    random_window = options.get("shuffle", True) or "views" in options
    choice = options.get("frame_choice", "uniform")
    random_frames = choice == "random" or (choice == "contiguous" and random_window)
    random_crop = options.get("crop") == "random"
    return Place(
        window=uniform(*name(Domain.WINDOW), counter=position) if random_window else 0.5,
        frames=uniform(*name(Domain.FRAMES), counter=position) if random_frames else 0.5,
        crop=uniform_pair(*name(Domain.CROP), counter=position) if random_crop else (0.5, 0.5),
        flip=uniform(*name(Domain.FLIP), counter=position) < options.get("flip", 0.0),
        frames_drawn=random_frames,
        crop_drawn=random_crop,
    )


def expected_view(
    clip: Stored, place: Place, options: dict[str, Any], *, frames: int, sound: tuple[int, int]
) -> dict[str, Any]:
    """The fields of one view of one clip.

    Args:
        clip: The clip.
        place: Where the view lies.
        options: The loader's: `size` is (height, width); `window_s`, `frame_choice` as they are.
        frames: T.
        sound: C and S.
    """
    start_s, end_s = 0.0, clip.duration_s
    if options.get("window_s") is not None:
        start_s = place.window * max(0.0, clip.duration_s - options["window_s"])
        end_s = start_s + options["window_s"]
    expected: dict[str, Any] = {
        "window_s": np.array([start_s, end_s]),
        "events": [
            (max(start, start_s) - start_s, min(end, end_s) - start_s, *kind)
            for start, end, *kind in clip.events
            if end > start_s and start < end_s
        ],
    }
    expected |= _expected_frames(clip, place, options, frames, (start_s, end_s))
    samples, there = np.zeros(sound, np.float32), 0
    if clip.pcm is not None:
        first = round(start_s * clip.rate_hz)
        pcm = clip.pcm[first : first + sound[1]]
        there = len(pcm)
        samples[:, :there] = pcm.T / np.float32(32768)
    return expected | {"audio": samples, "audio_samples": there}


def _expected_frames(
    clip: Stored, place: Place, options: dict[str, Any], count: int, window_s: tuple[float, float]
) -> dict[str, Any]:
    size_h, size_w = options["size"]
    if clip.frames is None:
        black = np.zeros((count, 3, size_h, size_w), np.uint8)
        return {"video": black, "frame_times_s": np.zeros(count), "frame_count": 0}
    stored, height, width = clip.frames.shape[:3]
    instants_s = (np.arange(stored) + 0.5) * clip.duration_s / stored
    inside = np.flatnonzero((instants_s >= window_s[0]) & (instants_s < window_s[1]))
    chosen = inside
    if len(inside) > count:
        if options.get("frame_choice") == "contiguous":
            first = int(place.frames * (len(inside) - count + place.frames_drawn))
            chosen = inside[first : first + count]
        else:
            chosen = inside[np.floor((np.arange(count) + place.frames) * len(inside) / count).astype(int)]
    repeated = [*chosen.tolist(), *[int(chosen[-1])] * (count - len(chosen))]
    top, left = (
        int(share * (room + place.crop_drawn))
        for share, room in zip(place.crop, (height - size_h, width - size_w), strict=True)
    )
    pixels = clip.frames[repeated, top : top + size_h, left : left + size_w]
    if place.flip:
        pixels = pixels[:, :, ::-1]
    return {
        "video": pixels.transpose(0, 3, 1, 2),
        "frame_times_s": clip.times_s[repeated],
        "frame_count": len(chosen),
    }


VIEW_FIELDS = ("video", "audio", "window_s", "frame_times_s", "frame_count", "audio_samples")


def loaded_views(batch: Any, place: int) -> list[dict[str, Any]]:
    """Copies of the fields of each view of a batch's clip."""
    has_views = batch.window_s.dim() == 3
    count = batch.window_s.shape[1] if has_views else 1
    views = []
    for view in range(count):
        fields = {name: getattr(batch, name) for name in VIEW_FIELDS if getattr(batch, name) is not None}
        at = (place, view) if has_views else (place,)
        content: dict[str, Any] = {name: value[at].numpy().copy() for name, value in fields.items()}
        number = place * count + view
        first, stop = batch.events.offsets[number : number + 2].tolist()
        columns = (batch.events.start_s, batch.events.end_s, batch.events.class_id, batch.events.modality)
        content["events"] = list(zip(*(column[first:stop].tolist() for column in columns), strict=True))
        views.append(content)
    return views


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Names of the fields of `found` that are not as expected."""
    return [
        name
        for name, value in found.items()
        if not (value == expected[name] if name == "events" else np.array_equal(value, expected[name]))
    ]
