"""Makes the clips that are benchmarked: ten seconds of H.264 and AAC each, all distinct, as heavy as real ones.

Real clips cannot be handed out with a benchmark. What counts for a loader's speed is the size of the packets, the cost
of decoding them and that no two clips are the same; so pictures are windows that wander over large textures with the
spectrum of photographs (amplitude 1/f), one scene seen through another, with a camera's grain: at 224 by 224 and
quality 90 they make JPEG packets of 10 kB, as real clips do.
"""

import csv
import functools
import math
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

MANIFEST = "clips.csv"
MEDIA = "media"
CLASSES = ("bell", "drum", "flute", "gong", "harp", "organ", "piano", "violin")
SCENES = 6
"""Textures that the clips are cut from; each pair of them, at other places and speeds, makes other clips."""


@dataclass(frozen=True, slots=True)
class ClipForm:
    """The outward form of every clip: what YouTube serves as 360p."""

    width: int = 480
    height: int = 360
    frame_rate_hz: int = 30
    duration_s: float = 10.0
    sample_rate_hz: int = 44100
    keyframe_s: float = 5.0

    @property
    def frame_count(self) -> int:
        """Frames of a clip."""
        return round(self.duration_s * self.frame_rate_hz)


@functools.cache
def scene(number: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A texture: luma uint8 [height, width], chroma uint8 [height / 2, width / 2, 2]; it wraps at its rims."""
    draw = np.random.default_rng([1, number])
    light = _noise(draw, height, width, slope=1.8)
    # Regions of other brightness with sharp rims, as objects have them.
    light += 0.9 * np.sign(_noise(draw, height, width, slope=2.6))
    luma = np.clip(118 + 24 * light, 16, 235).astype(np.uint8)
    colours = [np.clip(128 + 18 * _noise(draw, height // 2, width // 2, slope=1.9), 16, 240) for _ in range(2)]
    return luma, np.stack(colours, axis=2).astype(np.uint8)


def _noise(draw: np.random.Generator, height: int, width: int, *, slope: float) -> NDArray[np.float64]:
    """float64 [height, width], mean 0 and deviation 1; its amplitude falls with frequency to the power of `slope`."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    spectrum = np.fft.rfft2(draw.standard_normal((height, width)))
    # Nothing slower than a quarter of the texture: the windows of a clip are to differ in content, not in brightness.
    spectrum *= np.maximum(np.hypot(fy, fx), 4 / width) ** -slope
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(height, width))
    return field / field.std()


@dataclass(frozen=True, slots=True)
class _Wander:
    """How a window moves over a texture: a swing in either direction, and a slow zoom."""

    centre: NDArray[np.float64]
    reach: NDArray[np.float64]
    rate_hz: NDArray[np.float64]
    phase: NDArray[np.float64]
    zoom: float

    @classmethod
    def drawn(cls, draw: np.random.Generator, height: int, width: int) -> "_Wander":
        return cls(
            centre=draw.uniform(0, 1, 2) * (height, width),
            reach=draw.uniform(40, 160, 2),
            rate_hz=draw.uniform(0.05, 0.25, 2),
            phase=draw.uniform(0, 2 * math.pi, 3),
            zoom=draw.uniform(0.0, 0.12),
        )

    def places(self, at_s: float, lengths: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the texture that a picture of `lengths` shows; not yet wrapped."""
        swing = np.sin(2 * math.pi * self.rate_hz * at_s + self.phase[:2])
        # Textures have twice the picture's resolution, so that motion is by half pixels.
        scale = 2 * (1 + self.zoom * math.sin(0.3 * at_s + self.phase[2]))
        middle = self.centre + self.reach * swing
        rows, columns = (
            np.floor(middle[axis] + scale * (np.arange(length) - length / 2)).astype(np.int64)
            for axis, length in enumerate(lengths)
        )
        return rows, columns


def pictures(number: int, form: ClipForm) -> Iterator[NDArray[np.uint8]]:
    """Yields uint8 [H * 3 / 2, W] yuv420p pictures of clip `number`, all in one buffer: use each before the next."""
    draw = np.random.default_rng([2, number])
    height, width = form.height, form.width
    size = (4 * height, 4 * width)
    behind, front = (scene(int(place), *size) for place in draw.choice(SCENES, 2, replace=False))
    paths = [_Wander.drawn(draw, *size) for _ in range(2)]
    # The front scene shows through a soft hole that wanders as well.
    hole = np.hypot(*np.ogrid[-1 : 1 : 2j * height, -1.3 : 1.3 : 2j * width])
    hole = np.clip((0.75 - hole) * 24, 0, 1)
    wide_hole = np.pad((hole * 256).astype(np.uint16), ((height, height), (width, width)))
    hole_path = _Wander.drawn(draw, *size)
    grain = np.clip(draw.standard_normal((height + 32, width + 32)) * 0.8, -6, 6).round().astype(np.int8)

    buffer = np.empty(width * height * 3 // 2, dtype=np.uint8)
    luma = buffer[: width * height].reshape(height, width)
    chroma = buffer[width * height :].reshape(2, height // 2, width // 2)
    for frame in range(form.frame_count):
        at_s = frame / form.frame_rate_hz
        swing = np.sin(2 * math.pi * hole_path.rate_hz * at_s + hole_path.phase[:2])
        top, left = (round(n + s * n / 3) for n, s in zip((height, width), swing, strict=True))
        mask = wide_hole[top : top + height, left : left + width]
        shown = []
        for (texture, colours), path in zip((behind, front), paths, strict=True):
            rows, columns = path.places(at_s, (height, width))
            shown.append(
                (
                    texture[rows % size[0]].take(columns % size[1], axis=1),
                    colours[rows[::2] // 2 % (size[0] // 2)].take(columns[::2] // 2 % (size[1] // 2), axis=1),
                )
            )
        (luma_behind, chroma_behind), (luma_front, chroma_front) = shown
        blended = (luma_front * mask + luma_behind * (256 - mask)) >> 8
        dy, dx = draw.integers(32, size=2)
        np.add(blended, grain[dy : dy + height, dx : dx + width], out=luma, casting="unsafe")
        coarse = mask[::2, ::2, None]
        chroma[:] = ((chroma_front * coarse + chroma_behind * (256 - coarse)) >> 8).transpose(2, 0, 1)
        yield buffer.reshape(height * 3 // 2, width)


def sound(number: int, form: ClipForm) -> NDArray[np.float32]:
    """float32 [2, samples] of clip `number`: its class's notes, a tone of its own, noise."""
    draw = np.random.default_rng([3, number])
    t_s = np.arange(round(form.duration_s * form.sample_rate_hz)) / form.sample_rate_hz
    phase = 2 * math.pi * 110 * 2 ** (number % len(CLASSES) / 2) * t_s
    notes = (0.5 + 0.5 * np.exp(-3 * (t_s % draw.uniform(0.4, 1.2)))) * np.sin(phase + np.sin(phase))
    own_hz = 4000 + number % 2000
    tone = 0.25 * notes + 0.05 * np.sin(2 * math.pi * own_hz * t_s)
    hiss = draw.standard_normal((2, len(t_s)), dtype=np.float32)
    return (np.array([[1.0], [0.7]]) * tone + 0.02 * hiss).astype(np.float32)


def write_clip(path: Path, number: int, form: ClipForm) -> None:
    """Writes clip `number`, whole or not at all."""
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    with av.open(str(unfinished), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        group = str(round(form.keyframe_s * form.frame_rate_hz))
        video = container.add_stream(
            "libx264", rate=form.frame_rate_hz, options={"preset": "veryfast", "crf": "23", "g": group}
        )
        video.width, video.height, video.pix_fmt = form.width, form.height, "yuv420p"
        # The processes share the cores out.
        video.codec_context.thread_count = 1
        audio = container.add_stream("aac", rate=form.sample_rate_hz, layout="stereo")
        audio.bit_rate = 128_000
        samples = sound(number, form)
        for frame, pixels in enumerate(pictures(number, form)):
            if frame % form.frame_rate_hz == 0:
                begin = frame // form.frame_rate_hz * form.sample_rate_hz
                # A second of sound as its first picture comes: the muxer interleaves without a long queue.
                piece = np.ascontiguousarray(samples[:, begin : begin + form.sample_rate_hz])
                heard = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
                heard.sample_rate, heard.pts = form.sample_rate_hz, begin
                heard.time_base = Fraction(1, form.sample_rate_hz)
                container.mux(audio.encode(heard))
            picture = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            picture.pts, picture.time_base = frame, Fraction(1, form.frame_rate_hz)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    unfinished.replace(path)


def make_clips(folder: Path, count: int, form: ClipForm | None = None, *, workers: int | None = None) -> Path:
    """Writes `count` clips and their annotation table into `folder`; clips that are there are kept.

    Returns:
        The table, CSV with the columns id, media and label.
    """
    form = form or ClipForm()
    media = folder / MEDIA
    media.mkdir(parents=True, exist_ok=True)
    names = [f"clip{number:05d}" for number in range(count)]
    missing = [number for number, name in enumerate(names) if not (media / f"{name}.mp4").exists()]
    write = functools.partial(_write_numbered, media, form)
    began_s = time.monotonic()
    with ProcessPoolExecutor(
        workers or len(os.sched_getaffinity(0)), mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        for done, _ in enumerate(pool.map(write, missing, chunksize=1), start=1):
            if done % 100 == 0 or done == len(missing):
                print(f"{done} of {len(missing)} clips, {done / (time.monotonic() - began_s):.2f} a second", flush=True)
    table = folder / MANIFEST
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "media", "label"))
        for number, name in enumerate(names):
            writer.writerow((name, f"{name}.mp4", CLASSES[number % len(CLASSES)]))
    return table


def _write_numbered(media: Path, form: ClipForm, number: int) -> None:
    write_clip(media / f"clip{number:05d}.mp4", number, form)
