"""What the media of one sample hold: decoded once, as they will be decoded when they are loaded.

Only worker processes do this.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shardkit.clip import Reason
from shardkit.decoding.clip import STILL_STRIDE, DecodedClip, RejectedClipError, decode_clip, is_still
from shardkit.decoding.rules import MAX_FRAMES
from shardkit.format.digest import xxh3
from shardkit.format.record import AudioLayout, VideoLayout
from shardkit.format.wav import pcm_wav, second_digests
from shardkit.indexing.sample_media import ProbedSample, SampleMedia
from shardkit.indexing.settings import IndexSettings
from shardkit.media.errors import MediaDecodeError
from shardkit.media.jpeg import decode_jpeg_into, jpeg_size
from shardkit.media.source import MediaBytes

PICTURE_S = 1.0
"""How long a picture is shown where neither sound nor a rate says it."""
MOST_PICTURE_PIXELS = 1 << 28


def probe_sample(media: SampleMedia, settings: IndexSettings) -> ProbedSample:
    """Decodes what would be loaded of a sample.

    Raises:
        RejectedClipError: It cannot be loaded.
    """
    return _probed_pictures(media, settings) if settings.pictures else _probed_video(media, settings)


def _probed_video(media: SampleMedia, settings: IndexSettings) -> ProbedSample:
    video = None if media.video is None else MediaBytes(media.name, media.video)
    audio = video if media.sound is None else MediaBytes(media.name, media.sound)
    clip = decode_clip(video, audio, None, None, settings.rules)
    layout = None
    if clip.frames is not None:
        height, width = clip.frames.rgb.shape[1:3]
        layout = VideoLayout(height, width, (), (), (), tuple(clip.frames.time_s.tolist()))
    return _probed(media, clip, clip.duration_s, layout, clip.flags)


def _probed_pictures(media: SampleMedia, settings: IndexSettings) -> ProbedSample:
    name, pictures = media.name, media.pictures
    wants_video, wants_audio = settings.rules.require in ("av", "video"), settings.rules.require in ("av", "audio")
    if not pictures and (wants_video or media.sound is None):
        raise RejectedClipError(Reason.NO_VIDEO, f"{name}: no pictures; --require audio or any takes it without")
    if media.sound is None and wants_audio:
        raise RejectedClipError(Reason.NO_AUDIO, f"{name}: no sound; --require video or any takes it without")
    if len(pictures) > MAX_FRAMES:
        raise RejectedClipError(Reason.TOO_LONG, f"{name}: {len(pictures)} pictures, at most {MAX_FRAMES} are taken")
    clip = None
    if media.sound is not None:
        sound = MediaBytes(name, media.sound)
        clip = decode_clip(None, sound, None, None, replace(settings.rules, require="audio"))
    sound_s = 0.0 if clip is None else clip.duration_s
    flags = [] if clip is None else [*clip.flags]
    layout, duration_s = None, sound_s
    if pictures:
        picture_s = sound_s / len(pictures) if sound_s else PICTURE_S
        if settings.image_fps is not None:
            picture_s = 1 / settings.image_fps
            duration_s = max(sound_s, len(pictures) * picture_s)
        elif not sound_s:
            duration_s = len(pictures) * picture_s
        shown = _decoded(name, pictures)
        if is_still(shown):
            flags.append("still")
        height, width = jpeg_size(pictures[0])
        layout = VideoLayout(
            height,
            width,
            packet_offset=(),
            packet_bytes=tuple(map(len, pictures)),
            packet_xxh3=tuple(map(xxh3, pictures)),
            frame_time_s=tuple(place * picture_s for place in range(len(pictures))),
        )
    return _probed(media, clip, duration_s, layout, tuple(sorted(flags)))


def _decoded(name: str, pictures: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """Some pixels of each picture, uint8 [T, H, W, 3]; all of them have to decode, and be of one size."""
    try:
        height, width = jpeg_size(pictures[0])
        if height * width > MOST_PICTURE_PIXELS:
            raise RejectedClipError(Reason.TOO_LONG, f"{name}: a picture of {width}x{height} pixels; leave it out")
        pixels = np.empty((height, width, 3), np.uint8)
        shown = np.empty((len(pictures), *pixels[::STILL_STRIDE, ::STILL_STRIDE].shape), np.uint8)
        for picture, place in zip(pictures, shown, strict=True):
            decode_jpeg_into(picture, pixels)
            place[...] = pixels[::STILL_STRIDE, ::STILL_STRIDE]
    except MediaDecodeError as exc:
        raise RejectedClipError(Reason.DECODE_ERROR, f"{name}: {exc}") from exc
    return shown


def _probed(
    media: SampleMedia,
    clip: DecodedClip | None,
    duration_s: float,
    video: VideoLayout | None,
    flags: tuple[str, ...],
) -> ProbedSample:
    audio, audio_xxh3 = None, 0
    if clip is not None and clip.sound is not None:
        member = media.video if media.sound is None else media.sound
        assert member is not None
        audio_xxh3 = xxh3(member)
        samples, channels = clip.sound.pcm.shape
        audio = AudioLayout(clip.sound.rate_hz, channels, samples, 0, ())
        wav = pcm_wav(member)
        # What is decoded of it being what stands there, it can be read second by second.
        if wav is not None and (wav.rate_hz, wav.channels) == (clip.sound.rate_hz, channels):
            stored = np.frombuffer(member, "<i2", count=wav.samples * channels, offset=wav.data_offset)
            if np.array_equal(stored[: samples * channels], clip.sound.pcm.reshape(-1)):
                digests = second_digests(
                    member,
                    rate_hz=wav.rate_hz,
                    channels=channels,
                    data_offset=wav.data_offset,
                    samples=samples,
                )
                audio = replace(audio, data_offset=wav.data_offset, second_xxh3=tuple(digests))
    video_xxh3 = 0 if video is None or media.video is None else xxh3(media.video)
    return ProbedSample(duration_s, video, video_xxh3, audio, audio_xxh3, flags)
