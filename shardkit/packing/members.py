"""The media members of a clip: frames and samples in the codec that the settings name, and where their parts lie."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shardkit.format.digest import xxh3
from shardkit.format.flac import block_samples
from shardkit.format.record import AudioLayout, VideoLayout
from shardkit.format.wav import WAV_HEADER_BYTES, encode_wav, second_digests
from shardkit.media.flac import encode_flac
from shardkit.media.h264 import H264Decoder, encode_h264
from shardkit.media.jpeg import decode_jpeg_into, encode_jpeg, psnr_db
from shardkit.media.mux import MuxedVideo, mux_mjpeg
from shardkit.media.raw_video import mux_raw
from shardkit.packing.settings import H264, AudioCodec, Mjpeg, VideoSettings

FIDELITY_STRIDE = 4
"""Of this many frames one is compared with its source, from the first on: all JPEGs would cost a tenth of packing."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class VideoMember:
    """The file with the frames."""

    extension: Literal["mp4", "mov"]
    data: bytes
    layout: VideoLayout
    psnr_db: float
    """How near what is decoded comes to what was encoded; infinite where they are the same."""


@dataclass(frozen=True, slots=True)
class AudioMember:
    """The file with the samples."""

    extension: Literal["wav", "flac"]
    data: bytes
    layout: AudioLayout


def encode_video(
    rgb: Pixels,
    container_times_s: npt.NDArray[np.float64],
    *,
    frame_time_s: npt.NDArray[np.float64],
    settings: VideoSettings,
) -> VideoMember:
    """Encodes frames.

    Args:
        rgb: uint8 [T, H, W, 3].
        container_times_s: Timestamps, [T]: the first 0, strictly increasing.
        frame_time_s: True times, [T].
        settings: The codec's.
    """
    if isinstance(settings, Mjpeg):
        muxed, psnr = _encode_mjpeg(rgb, container_times_s, settings)
    elif isinstance(settings, H264):
        muxed, psnr = _encode_h264(rgb, container_times_s, settings)
    else:
        muxed, psnr = mux_raw(rgb, container_times_s), float("inf")
    layout = VideoLayout(
        height=rgb.shape[1],
        width=rgb.shape[2],
        packet_offset=tuple(muxed.packet_offset.tolist()),
        packet_bytes=tuple(muxed.packet_bytes.tolist()),
        packet_xxh3=tuple(xxh3(packet) for packet in muxed.packets()),
        frame_time_s=tuple(frame_time_s.tolist()),
    )
    return VideoMember("mov" if settings.codec == "raw" else "mp4", muxed.data, layout, psnr)


def _encode_mjpeg(rgb: Pixels, container_times_s: npt.NDArray[np.float64], settings: Mjpeg) -> tuple[MuxedVideo, float]:
    packets = [encode_jpeg(frame, quality=settings.quality, chroma=settings.chroma) for frame in rgb]
    checked = rgb[::FIDELITY_STRIDE]
    decoded = np.empty_like(checked)
    for packet, out in zip(packets[::FIDELITY_STRIDE], decoded, strict=True):
        decode_jpeg_into(packet, out)
    muxed = mux_mjpeg(packets, container_times_s, width=rgb.shape[2], height=rgb.shape[1])
    return muxed, psnr_db(decoded, checked)


def _encode_h264(rgb: Pixels, container_times_s: npt.NDArray[np.float64], settings: H264) -> tuple[MuxedVideo, float]:
    muxed = encode_h264(rgb, container_times_s, crf=settings.crf, keyint=settings.keyint)
    checked = rgb[::FIDELITY_STRIDE]
    decoded = np.empty_like(checked)
    # All are decoded, which also proves that all can be.
    is_checked = [place % FIDELITY_STRIDE == 0 for place in range(len(rgb))]
    H264Decoder().decode(muxed.packets(), is_checked, out=decoded)
    return muxed, psnr_db(decoded, checked)


def encode_audio(pcm: npt.NDArray[np.int16], *, rate_hz: int, codec: AudioCodec) -> AudioMember:
    """Encodes samples, int16 [S, C]."""
    samples, channels = pcm.shape
    if codec == "pcm":
        wav = encode_wav(pcm, rate_hz=rate_hz)
        digests = tuple(second_digests(wav, rate_hz=rate_hz, channels=channels))
        return AudioMember("wav", wav, AudioLayout(rate_hz, channels, samples, WAV_HEADER_BYTES, digests))
    flac = encode_flac(pcm, rate_hz=rate_hz, block_samples=block_samples(rate_hz))
    layout = AudioLayout(
        rate_hz=rate_hz,
        channels=channels,
        samples=samples,
        data_offset=flac.data_offset,
        second_xxh3=tuple(xxh3(second) for second in flac.seconds()),
        second_bytes=flac.second_bytes,
    )
    return AudioMember("flac", flac.data, layout)
