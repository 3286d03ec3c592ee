"""Clips that spell out what is in them: every second has a colour and a tone of its own, which say class, second, clip.

A second in which a class is seen has a colour that says so, one in which it is heard a tone; what says that there is
no class is background. So whatever a loader or a shuffle does to a clip, its labels can be read off its media.
"""

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE_HZ, FPS, SIDE = 16000, 4, 64
CLASSES, SECONDS, CLIPS = 4, 10, 12
BACKGROUND = CLASSES
MATERIALS = (("wood",), ("wood", "glass"), ("glass",), ())
BASE_HZ, STEP_HZ = 300, 8
LEVEL, CLASS_STEP, SECOND_STEP, CLIP_STEP = 20, 45, 22, 18

CLASS_NAMES = tuple(f"class{number}" for number in range(CLASSES))


@dataclass(frozen=True)
class Spelled:
    """What a second of a clip says of itself."""

    class_id: int
    """BACKGROUND where there is none."""
    second: int
    clip: int


@dataclass(frozen=True)
class SpelledClip:
    """Clip `number`: its length, and the class that is heard and the one that is seen in every second."""

    number: int
    duration_s: float
    class_id: int
    heard: tuple[int, ...]
    seen: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of its source."""
        return f"spelled{self.number:02d}"


def spelled_clips() -> list[SpelledClip]:
    """Twelve clips of mostly ten seconds; number 3 ends in its tenth second, 7 after six, 11 is background."""
    clips = []
    for number in range(CLIPS):
        duration_s = {3: 9.7, 7: 6.0}.get(number, 10.0)
        class_id, length = number % CLASSES, 1 + number % 3
        start = (2 * number) % (round(duration_s) - length)
        heard, seen = [BACKGROUND] * SECONDS, [BACKGROUND] * SECONDS
        for second in range(start, start + length):
            heard[second] = seen[second] = class_id
        if number % 3 == 1:  # another class is heard, and a third one seen, but not at once
            heard[(start + length) % 6], seen[(start + length + 1) % 6] = (
                (class_id + 1) % CLASSES,
                (class_id + 2) % CLASSES,
            )
        if number == 11:
            heard, seen = [BACKGROUND] * SECONDS, [BACKGROUND] * SECONDS
        clips.append(SpelledClip(number, duration_s, class_id, tuple(heard), tuple(seen)))
    return clips


def make_spelled(folder: Path) -> Path:
    """Writes the clips' media, lossless, and a table of their events, whose path it returns.

    Beside them `rows`: arrays [10, 2] that say second and clip, also of clip 7, which has no ten seconds.
    """
    folder.mkdir(parents=True)
    (folder.parent / "rows").mkdir()
    for clip in spelled_clips():
        _write(folder / f"{clip.name}.mkv", clip)
        rows = [(second, clip.number) for second in range(SECONDS)]
        np.save(folder.parent / "rows" / f"{clip.name}.npy", np.array(rows, np.float32))
    table = folder.parent / "spelled.jsonl"
    table.write_text("".join(json.dumps(_row(clip)) + "\n" for clip in spelled_clips()))
    return table


def colour_of(spelled: Spelled) -> tuple[int, int, int]:
    """RGB."""
    return (
        LEVEL + CLASS_STEP * spelled.class_id,
        LEVEL + SECOND_STEP * spelled.second,
        LEVEL + CLIP_STEP * spelled.clip,
    )


def read_colour(frame: np.ndarray) -> Spelled:
    """What a frame uint8 [3, H, W] says: all of its pixels the same."""
    assert (frame.max((1, 2)) - frame.min((1, 2)) <= 4).all()
    red, green, blue = frame.mean((1, 2)) - LEVEL
    return Spelled(round(red / CLASS_STEP), round(green / SECOND_STEP), round(blue / CLIP_STEP))


def read_tone(samples: np.ndarray) -> Spelled:
    """What samples float [S] at RATE_HZ say; silence at their end does not matter."""
    size = 2 * RATE_HZ
    pitch_hz = np.abs(np.fft.rfft(samples, size)).argmax() * RATE_HZ / size
    code = round((pitch_hz - BASE_HZ) / STEP_HZ)
    code, clip = divmod(code, CLIPS)
    return Spelled(*divmod(code, SECONDS), clip)


def _tone(spelled: Spelled) -> np.ndarray:
    code = (spelled.class_id * SECONDS + spelled.second) * CLIPS + spelled.clip
    return 9000 * np.sin(2 * np.pi * (BASE_HZ + STEP_HZ * code) * np.arange(RATE_HZ) / RATE_HZ)


def _write(path: Path, clip: SpelledClip) -> None:
    tones = [_tone(Spelled(class_id, second, clip.number)) for second, class_id in enumerate(clip.heard)]
    pcm = np.concatenate(tones)[: round(clip.duration_s * RATE_HZ)].astype(np.int16)[None]
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=FPS)
        video.width, video.height, video.pix_fmt = SIDE, SIDE, "bgr0"
        audio = container.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        for number in range(round(clip.duration_s * FPS + 0.4)):
            second = number // FPS
            rgb = np.empty((SIDE, SIDE, 3), np.uint8)
            rgb[:] = colour_of(Spelled(clip.seen[second], second, clip.number))
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        sound.sample_rate, sound.time_base, sound.pts = RATE_HZ, Fraction(1, RATE_HZ), 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def _row(clip: SpelledClip) -> dict:
    events = []
    for second in range(round(clip.duration_s)):
        end_s = min(second + 1.0, clip.duration_s)
        heard, seen = clip.heard[second], clip.seen[second]
        if heard == seen != BACKGROUND:
            events.append((second, end_s, heard, "av"))
            continue
        for class_id, modality in ((heard, "audio"), (seen, "visual")):
            if class_id != BACKGROUND:
                events.append((second, end_s, class_id, modality))
    return {
        "id": clip.name,
        "media": f"{clip.name}.mkv",
        "start_s": 0.0,
        "end_s": clip.duration_s,
        "label": CLASS_NAMES[clip.class_id] if clip.number != 11 else None,
        "labels": list(MATERIALS[clip.number % len(MATERIALS)]),
        "split": "test" if clip.number % 6 == 5 else "train",
        "events": [
            {"start_s": start_s, "end_s": end_s, "class": CLASS_NAMES[class_id], "modality": modality}
            for start_s, end_s, class_id, modality in events
        ],
    }
