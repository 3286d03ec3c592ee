"""One clip's frames and sound as settings ask for them, or why they cannot be had; and what is odd about them.

Decoding is a worker process's task: it knows nothing of labels, nor of where its clip goes.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shardkit.clip import Reason
from shardkit.decoding.rules import MAX_FRAMES, ClipRules
from shardkit.errors import DataError
from shardkit.media.audio import Audio, read_audio
from shardkit.media.errors import MediaDecodeError, NoStreamError, UnreadableMediaError
from shardkit.media.frames import Frames, read_frames
from shardkit.media.probe import OpenSpan, SourceInfo, StreamInfo, open_span
from shardkit.media.source import MediaSource, source_name

MIN_CLIP_S = 0.01
LONGEST_CLIP_S = 4 * 3600.0
"""The sound of a clip is held in memory: of this one, half a gigabyte at 16 kHz."""
DAMAGED_TIMES, DAMAGED_S = 10.0, 600.0
"""Where packets reach this much further than the header says, a timestamp is damaged: no estimate is as far off."""
MIN_COVERED = 0.5
"""A clip whose media covers less of its span than this is too short."""
MIN_DECODED = 0.9
"""Where a decoder returns less of the packets than this, it has dropped them without an error."""
SLACK_FRAMES, SLACK_S = 2, 0.1
"""What may be missing of any clip: at the ends of the span, packets and what is decoded of them differ by rounding."""
LATE_S = 0.1
"""Streams that start this much after the clip are flagged: more than a few frames, and clearly heard."""
SHORT_S = 0.5
STILL_STRIDE = 4
"""Every fourth pixel each way tells a still picture as well as all of them."""
STILL_LEVELS = 0.5
"""Mean difference of neighbouring frames, of 255 levels, below which a clip is a still picture."""
SILENT_PEAK = 32
"""-60 dB of full scale."""
CLIPPED_SHARE = 0.001


class RejectedClipError(DataError):
    """A clip that cannot be had, and why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class DecodedClip:
    """What a clip shows and sounds like."""

    start_s: float
    """Source time of the clip's start."""
    duration_s: float
    instants_s: npt.NDArray[np.float64]
    """float64 [T], when each frame was asked for, from the clip's start; empty without a picture."""
    frames: Frames | None
    sound: Audio | None
    flags: tuple[str, ...]
    """What is odd about it, sorted."""


def decode_clip(
    video: MediaSource | None,
    audio: MediaSource | None,
    start_s: float | None,
    end_s: float | None,
    rules: ClipRules,
    *,
    may_end_early: bool = False,
) -> DecodedClip:
    """Decodes the span [start_s, end_s) of a clip's media.

    Args:
        video: Where the picture is; None for a clip without.
        audio: Where the sound is, often the same; None for a clip without.
        start_s: Start of the span in source time; None is the beginning.
        end_s: End of the span; None is the end of what ends last.
        rules: Which frames, how large; which sound.
        may_end_early: A file that ends before `end_s` gives a shorter clip, not one that lacks its end; the half second
            that any clip may lack counts for nothing.

    Raises:
        RejectedClipError: It cannot be had.
    """
    try:
        with ExitStack() as opened:

            def span_of(source: MediaSource | None, only: Literal["video", "audio"] | None) -> OpenSpan | None:
                if source is None:
                    return None
                return opened.enter_context(open_span(source, start_s=start_s, end_s=end_s, only=only))

            is_one = audio is video
            seen = span_of(video, None if is_one else "video")
            heard = seen if is_one else span_of(audio, "audio")
            decoding = _Decoding(video, audio, seen, heard, rules)
            return decoding.clip(start_s or 0.0, end_s, may_end_early=may_end_early)
    except UnreadableMediaError as exc:
        raise RejectedClipError(Reason.UNREADABLE, str(exc)) from exc
    except NoStreamError as exc:
        raise RejectedClipError(Reason.NO_VIDEO if exc.kind == "video" else Reason.NO_AUDIO, str(exc)) from exc
    except MediaDecodeError as exc:
        raise RejectedClipError(Reason.DECODE_ERROR, str(exc)) from exc


class _Decoding:
    """A clip's open media on their way to a decoded clip."""

    def __init__(
        self,
        video: MediaSource | None,
        audio: MediaSource | None,
        seen: OpenSpan | None,
        heard: OpenSpan | None,
        rules: ClipRules,
    ) -> None:
        named = audio if video is None else video
        assert named is not None
        self._name = source_name(named)
        self._video, self._audio = video, audio
        self._seen, self._heard = seen, heard
        self._rules = rules
        self._info = _joined(seen, heard)

    def clip(self, start_s: float, end_s: float | None, *, may_end_early: bool) -> DecodedClip:
        info, name, rules = self._info, self._name, self._rules
        if may_end_early and end_s is not None and info.duration_s < end_s - SHORT_S:
            end_s = None
        end_s, flags = _span_end(info, name, start_s, end_s)
        has_video = _is_in_span(info.video, start_s, end_s)
        has_audio = _is_in_span(info.audio, start_s, end_s)
        _check_required(info, name, rules, has_video=has_video, has_audio=has_audio)
        duration_s = end_s - start_s
        if duration_s < MIN_CLIP_S:
            raise RejectedClipError(Reason.TOO_SHORT, f"{name}: a clip of {duration_s:g} s; correct its start and end")
        if duration_s > LONGEST_CLIP_S:
            raise RejectedClipError(
                Reason.TOO_LONG,
                f"{name}: a clip of {duration_s:,.0f} s, at most {LONGEST_CLIP_S:,.0f} s are taken; cut it into "
                "shorter ones",
            )
        instants_s: npt.NDArray[np.float64] = np.empty(0)
        frames = sound = None
        if has_video:
            instants_s = rules.sampling.instants(duration_s)
            frames = self._frames(start_s, end_s, instants_s)
            flags += self._video_flags(frames, start_s, end_s)
        if has_audio:
            sound = self._sound(start_s, end_s)
            flags += self._audio_flags(sound, start_s, end_s)
        return DecodedClip(start_s, duration_s, instants_s, frames, sound, tuple(sorted(flags)))

    def _frames(self, start_s: float, end_s: float, instants_s: npt.NDArray[np.float64]) -> Frames:
        name, rules = self._name, self._rules
        assert self._video is not None
        assert self._seen is not None
        if len(instants_s) > MAX_FRAMES:
            raise RejectedClipError(
                Reason.TOO_LONG,
                f"{name}: {len(instants_s)} frames in {end_s - start_s:.0f} s, at most {MAX_FRAMES} are stored; cut it "
                "into shorter ones, or take fewer frames a second",
            )
        frames = read_frames(self._video, start_s + instants_s, size=rules.size, fit=rules.fit, held=self._seen.video)
        _check_decoded(name, "frames", frames.decoded_count, frames.expected_count, SLACK_FRAMES)
        return frames

    def _sound(self, start_s: float, end_s: float) -> Audio:
        assert self._audio is not None
        assert self._heard is not None
        name = source_name(self._audio)
        sound = read_audio(
            self._audio,
            start_s,
            end_s,
            rate_hz=self._rules.audio_rate_hz,
            channels=self._rules.audio_channels,
            held=self._heard.audio,
        )
        _check_decoded(name, "seconds of audio", sound.decoded_s, sound.expected_s, SLACK_S)
        if not len(sound.pcm):
            raise RejectedClipError(Reason.DECODE_ERROR, f"{name}: no sound could be decoded; fetch the file again")
        return sound

    def _video_flags(self, frames: Frames, start_s: float, end_s: float) -> list[str]:
        info, flags = self._info.video, []
        assert info is not None
        # The packets know of a late start that ends before the first instant; not all containers give them times.
        late_s = frames.late_start_s if info.first_s is None else info.first_s - start_s
        if late_s > LATE_S:
            flags.append("late_video")
        if info.end_s is not None and info.end_s < end_s - SHORT_S:
            flags.append("short_video")
        if is_still(frames.rgb[:, ::STILL_STRIDE, ::STILL_STRIDE]):
            flags.append("still")
        return flags

    def _audio_flags(self, sound: Audio, start_s: float, end_s: float) -> list[str]:
        info, flags = self._info.audio, []
        assert info is not None
        if sound.late_start_s > LATE_S:
            flags.append("late_audio")
        if info.end_s is not None and info.end_s < end_s - min(SHORT_S, (end_s - start_s) / 4):
            flags.append("short_audio")
        if sound.peak <= SILENT_PEAK:
            flags.append("silent")
        if sound.clipped_count > CLIPPED_SHARE * sound.pcm.size:
            flags.append("clipped")
        return flags


def is_still(frames: npt.NDArray[np.uint8]) -> bool:
    """Whether frames, uint8 [T, H, W, 3] with as few pixels as `STILL_STRIDE` leaves, show one and the same picture."""
    if len(frames) < 2:
        return False
    return float(np.abs(np.diff(frames.astype(np.int16), axis=0)).mean(axis=(1, 2, 3)).max()) < STILL_LEVELS


def _joined(seen: OpenSpan | None, heard: OpenSpan | None) -> SourceInfo:
    """What is known of the picture of one file and the sound of another; of the same file, all."""
    if seen is not None and seen is heard:
        return seen.info
    infos = [span.info for span in (seen, heard) if span is not None]
    declared_s = [info.declared_duration_s for info in infos if info.declared_duration_s is not None]
    return SourceInfo(
        declared_duration_s=max(declared_s) if len(declared_s) == len(infos) else None,
        video=None if seen is None else seen.info.video,
        audio=None if heard is None else heard.info.audio,
        whole=all(info.whole for info in infos),
        notes=tuple(note for info in infos for note in info.notes),
    )


def _span_end(info: SourceInfo, name: str, start_s: float, end_s: float | None) -> tuple[float, list[str]]:
    """Where the clip ends, and flags about its length."""
    flags = []
    declared_s = info.declared_duration_s
    if (
        info.whole
        and declared_s is not None
        and abs(declared_s - info.duration_s) > max(SHORT_S, 0.1 * info.duration_s)
    ):
        flags.append("length_mismatch")
    covered_s = info.duration_s - start_s
    if end_s is None:
        if covered_s <= 0:
            raise RejectedClipError(
                Reason.TOO_SHORT, f"{name}: holds {info.duration_s:.3f} s, the clip starts at {start_s:.3f} s"
            )
        if declared_s is not None and info.duration_s > DAMAGED_TIMES * declared_s + DAMAGED_S:
            raise RejectedClipError(
                Reason.DECODE_ERROR,
                f"{name}: its header says {declared_s:,.1f} s, its packets reach to {info.duration_s:,.0f} s: a "
                "timestamp is damaged; fetch the file again",
            )
        return info.duration_s, flags
    wanted_s = end_s - start_s
    if covered_s < MIN_COVERED * wanted_s:
        raise RejectedClipError(
            Reason.TOO_SHORT,
            f"{name}: holds {info.duration_s:.3f} s, the clip is {start_s:.3f} to {end_s:.3f} s; fetch the whole "
            "file, or say --already-cut where files hold their clips alone",
        )
    if covered_s < wanted_s - SHORT_S:
        flags.append("short")
    return end_s, flags


def _is_in_span(stream: StreamInfo | None, start_s: float, end_s: float) -> bool:
    if stream is None or not stream.packet_count:
        return False
    # Packets without times are decoded to see.
    return stream.first_s is None or stream.end_s is None or (stream.first_s < end_s and stream.end_s > start_s)


def _check_required(info: SourceInfo, name: str, rules: ClipRules, *, has_video: bool, has_audio: bool) -> None:
    notes = "".join(f" ({note})" for note in info.notes)
    if not has_video and rules.require in ("av", "video"):
        raise RejectedClipError(
            Reason.NO_VIDEO,
            f"{name}: no video in the clip's span{notes}; --require audio or any takes it without",
        )
    if not has_audio and rules.require in ("av", "audio"):
        raise RejectedClipError(
            Reason.NO_AUDIO,
            f"{name}: no audio in the clip's span{notes}; --require video or any takes it without",
        )
    if not has_video and not has_audio:
        raise RejectedClipError(Reason.UNREADABLE, f"{name}: neither video nor audio in the clip's span{notes}")


def _check_decoded(name: str, what: str, decoded: float, expected: float, slack: float) -> None:
    if decoded < min(MIN_DECODED * expected, expected - slack):
        raise RejectedClipError(
            Reason.DECODE_ERROR,
            f"{name}: the decoder returned {decoded:g} of {expected:g} {what}; the file is damaged or this build of "
            "FFmpeg does not know its codec: fetch or transcode it again",
        )
