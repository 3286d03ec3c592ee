"""Makes media whose frames can be recognised: every one carries its number as eight black and white bars."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.packet import PacketSideData

WIDTH, HEIGHT = 128, 64
BARS = 8
TICKS = 1000
"""Video ticks a second: what Matroska keeps."""
NEW_EXTRADATA = 1  # FFmpeg's AV_PKT_DATA_NEW_EXTRADATA


def numbered_picture(number: int) -> np.ndarray:
    """RGB [64, 128, 3]: bit k of `number` is the brightness of bar k."""
    bits = [(number >> bit) & 1 for bit in range(BARS)]
    row = np.repeat(np.array(bits, np.uint8) * 255, WIDTH // BARS)
    return np.broadcast_to(row[None, :, None], (HEIGHT, WIDTH, 3)).copy()


def read_number(rgb: np.ndarray) -> int:
    """The number that a picture carries, at any size."""
    width = rgb.shape[1] // BARS
    middle = rgb[rgb.shape[0] // 4 : 3 * rgb.shape[0] // 4].mean((0, 2))
    return sum(int(middle[bar * width + width // 2] > 127) << bar for bar in range(BARS))


def tone(rate_hz: int, duration_s: float) -> np.ndarray:
    """int16 [1, S]: a sweep, so that no shift goes unnoticed."""
    t = np.arange(round(rate_hz * duration_s)) / rate_hz
    return (8000 * np.sin(2 * np.pi * (200 * t + 150 * t * t))).astype(np.int16)[None]


def make_video(
    path: Path,
    ticks: Sequence[int],
    *,
    b_frames: int = 0,
    gop: int = 12,
    audio_start_s: float | None = None,
    audio_s: float = 0.0,
    rotation: int | None = None,
    pictures: Sequence[np.ndarray] | None = None,
    options: Mapping[str, str] | None = None,
    interleaved: bool = True,
) -> Path:
    """Writes H.264, frame i shown at ticks[i] / 1000 s, and AAC from `audio_start_s` on.

    With `options` for libx264. Not interleaved, all of the video stands before the sound.
    """
    with av.open(str(path), "w", options={} if interleaved else {"max_interleave_delta": "1"}) as container:
        settings = {"bf": str(b_frames), "b_strategy": "0", "g": str(gop), "qp": "8", "sc_threshold": "0"}
        video = container.add_stream("libx264", rate=25, options=settings | dict(options or {}))
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = video.time_base = Fraction(1, TICKS)
        if rotation is not None:
            video.set_display_rotation(rotation)
        audio = container.add_stream("aac", rate=48000, layout="mono") if audio_start_s is not None else None
        packets = []
        for number, tick in enumerate(ticks):
            rgb = numbered_picture(number) if pictures is None else pictures[number]
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, TICKS)
            packets += video.encode(frame)
        packets += video.encode(None)
        if audio is not None:
            sound = av.AudioFrame.from_ndarray(tone(48000, audio_s), format="s16", layout="mono")
            sound.sample_rate, sound.time_base = 48000, Fraction(1, 48000)
            sound.pts = round(audio_start_s * 48000)
            packets += audio.encode(sound)
            packets += audio.encode(None)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base) if interleaved else packets:
            container.mux(packet)
    return path


def join(path: Path, first: Path, second: Path) -> Path:
    """Joins two MP4s of one H.264 stream each without encoding: with a second sample description, as editors do."""
    with av.open(str(first)) as a, av.open(str(second)) as b, av.open(str(path), "w") as joined:
        stream = joined.add_stream_from_template(a.streams.video[0])
        end = 0
        for packet in a.demux(video=0):
            if packet.size:
                packet.stream = stream
                joined.mux(packet)
                end = packet.pts + packet.duration
        settings = bytes(b.streams.video[0].codec_context.extradata)
        for place, packet in enumerate(packet for packet in b.demux(video=0) if packet.size):
            if place == 0:
                side_data = PacketSideData(NEW_EXTRADATA, len(settings))
                side_data.update(settings)
                packet.set_sidedata(side_data)
            packet.pts, packet.dts, packet.stream = packet.pts + end, packet.dts + end, stream
            joined.mux(packet)
    return path


def make_pcm(path: Path, samples: np.ndarray, rate_hz: int, *, start_s: float = 0.0, kind: str = "s16") -> Path:
    """Writes PCM [C, S] (mono or stereo) that starts at `start_s`."""
    codec = {"s16": "pcm_s16le", "u8": "pcm_u8"}[kind]
    layout = "mono" if len(samples) == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        for first in range(0, samples.shape[1], 1024):
            packed = np.ascontiguousarray(samples[:, first : first + 1024].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format=kind, layout=layout)
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            frame.pts = round(start_s * rate_hz) + first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_sound(path: Path, codec: str, samples: np.ndarray, rate_hz: int) -> Path:
    """Encodes int16 PCM [C, S] (mono or stereo)."""
    layout = "mono" if len(samples) == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        stream.bit_rate = 128_000
        packed = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path
