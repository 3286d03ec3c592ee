"""Clips whose sound and picture say which class each of their parts has, and little else.

A clip is a row of cells of equal length. In each a tone, or none, and a shape, or none. Pitch names the sound's class,
shape and hue the picture's; all else is drawn anew for each clip: pitch within its class, harmonics, loudness, noise,
place, size and shade, so that nothing can be looked up.
"""

import colorsys
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

RATE_HZ = 16000
SIDE = 64
"""Height and width of the pictures in pixels."""
LOWEST_HZ, STEP_OCTAVES = 220.0, 0.42
SHAPES = 5
GREY, GREY_STEP = 24, 22

Draw = np.random.Generator


@dataclass(frozen=True, slots=True)
class Script:
    """What is heard and seen in a clip."""

    name: str
    """The media file's, without its suffix."""
    sounds: tuple[int | None, ...]
    """Class of the tone in each cell."""
    pictures: tuple[int | None, ...]
    """Class of the shape in each cell; of a grey level where the clip is spelled."""
    cell_s: float = 1.0
    frames_per_cell: int = 1
    spelled: bool = False
    """Nothing is drawn: pure tones and plain grey levels, which a rule of two lines reads without a mistake."""

    def __post_init__(self) -> None:
        assert len(self.sounds) == len(self.pictures)


def write_media(folder: Path, scripts: Sequence[Script], *, seed: int, workers: int | None = None) -> None:
    """Writes `NAME.mkv` (MJPEG and PCM) for each script.

    Args:
        folder: Is made where it is missing.
        scripts: The clips.
        seed: Of what is drawn: with the clip's place, all that its bytes depend on.
        workers: Processes, one a CPU where it is None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    workers = workers or len(os.sched_getaffinity(0))
    jobs = [(folder, script, (seed, place)) for place, script in enumerate(scripts)]
    if workers == 1:
        for job in jobs:
            _write(*job)
        return
    # spawn: a fork would carry the locks of the caller's threads along.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(_write, *job) for job in jobs]:
            done.result()


def _write(folder: Path, script: Script, seed: tuple[int, int]) -> None:
    draw = np.random.default_rng(seed)
    samples = np.clip(32767 * sound_of(script, draw), -32768, 32767).astype("<i2")
    with av.open(folder / f"{script.name}.mkv", "w") as file:
        rate_hz = Fraction(script.frames_per_cell) / Fraction(script.cell_s).limit_denominator(1000)
        video = file.add_stream("mjpeg", rate=rate_hz, options={"q:v": "3"})
        video.width = video.height = SIDE
        video.pix_fmt = "yuvj420p"
        audio = file.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        to_yuv = VideoReformatter()  # one for all frames: making it costs more than what it does
        for number, pixels in enumerate(pictures_of(script, draw)):
            picture = to_yuv.reformat(av.VideoFrame.from_ndarray(pixels, format="rgb24"), format="yuvj420p")
            picture.pts, picture.time_base = number, 1 / rate_hz
            file.mux(video.encode(picture))
        file.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        file.mux(audio.encode(frame))
        file.mux(audio.encode(None))


def pitch_hz(sound: int, offset: float = 0.0) -> float:
    """Pitch of a class's tone, `offset` steps above its middle."""
    return LOWEST_HZ * 2.0 ** (STEP_OCTAVES * (sound + offset))


def sound_of(script: Script, draw: Draw) -> NDArray[np.float64]:
    """float64 [S] in [-1, 1] at 16 kHz: the cells' tones over noise."""
    length = round(script.cell_s * RATE_HZ)
    t_s = np.arange(length) / RATE_HZ
    fade = np.minimum(1.0, np.minimum(t_s, t_s[::-1]) / 0.01)
    noise = 0.0 if script.spelled else draw.uniform(0.005, 0.03)
    samples = noise * draw.standard_normal(length * len(script.sounds))
    # One source a clip: its tones of one class have one pitch.
    offsets = dict.fromkeys(script.sounds, 0.0) if script.spelled else {}
    for cell, sound in enumerate(script.sounds):
        if sound is None:
            continue
        pitch = pitch_hz(sound, offsets.setdefault(sound, draw.uniform(-0.25, 0.25)))
        harmonics = (1.0,) if script.spelled else (1.0, draw.uniform(0.1, 0.5), draw.uniform(0.05, 0.3))
        tone = sum(
            share * np.sin(2 * np.pi * number * pitch * t_s + draw.uniform(0, 2 * np.pi))
            for number, share in enumerate(harmonics, start=1)
        )
        samples[cell * length : (cell + 1) * length] += draw.uniform(0.1, 0.4) * fade * tone
    return samples


def pictures_of(script: Script, draw: Draw) -> list[NDArray[np.uint8]]:
    """uint8 [64, 64, 3], RGB, frame by frame."""
    if script.spelled:
        greys = [0 if picture is None else GREY + GREY_STEP * picture for picture in script.pictures]
        return [np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in greys for _ in range(script.frames_per_cell)]
    ground = draw.uniform(0.1, 0.5, 3)
    rough = draw.uniform(0.03, 0.1)
    shade, size = draw.uniform(-0.5, 0.5), draw.uniform(0.55, 0.9)
    frames = []
    for picture in script.pictures:
        for _ in range(script.frames_per_cell):
            pixels = ground + rough * draw.standard_normal((SIDE, SIDE, 1))
            if picture is not None:
                across = np.linspace(-1, 1, SIDE)
                x = (across - draw.uniform(-0.25, 0.25))[None, :] / size
                y = (across - draw.uniform(-0.25, 0.25))[:, None] / size
                mask = _MASKS[picture % SHAPES](x, y)[..., None]
                # Warm for the first five classes, cold for the others.
                hue = (0.06 if picture < SHAPES else 0.58) + 0.12 * shade
                colour = np.array(colorsys.hsv_to_rgb(hue % 1, draw.uniform(0.7, 1), draw.uniform(0.75, 1)))
                pixels = np.where(mask, colour + 0.3 * rough * draw.standard_normal((SIDE, SIDE, 1)), pixels)
            frames.append((255 * pixels.clip(0, 1)).astype(np.uint8))
    return frames


_Plane = NDArray[np.float64]
_MASKS: tuple[Callable[[_Plane, _Plane], NDArray[np.bool_]], ...] = (
    lambda x, y: x**2 + y**2 < 0.36,
    lambda x, y: (np.maximum(abs(x), abs(y)) < 0.7) & (np.maximum(abs(x), abs(y)) > 0.4),
    lambda x, y: (abs(x) < 0.7) & (abs(y) < 0.7) & (y % 0.46 < 0.23),
    lambda x, y: (abs(x) < 0.7) & (abs(y) < 0.7) & (x % 0.46 < 0.23),
    lambda x, y: (np.maximum(abs(x), abs(y)) < 0.75) & ((abs(x - y) < 0.25) | (abs(x + y) < 0.25)),
)
"""Disc, frame, lying bars, standing bars, cross: what of the plane [-1, 1]² each covers."""
