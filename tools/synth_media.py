"""Makes H.264 + AAC clips whose sound and picture follow the class, with an AVO-65-style CSV.

Everything a pipeline can mix up is written into the media, and can be read back from what was decoded:

    class         pitch of the tone (`pitch_hz`), hue and shape of the moving pattern
    clip          a quiet pilot tone (`pilot_hz`), and half of the block code
    frame         the other half of the block code (`read_code`), and the place of the pattern

The clip's number is the number of its row in the CSV (1-based, the header is not counted). Usage:

    python tools/synth_media.py OUT --clips 60 --with-faults     invents rows, writes OUT/annotations.csv too
    python tools/synth_media.py OUT --csv AVO-65.csv --rows 600  the media that 600 of its rows name
"""

import argparse
import csv
import enum
import functools
import itertools
import math
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from shardkit.errors import DataError, ShardkitError, UsageError

CSV_COLUMNS = ("ytid", "start_time", "name", "level_1", "lebel_2", "level_3", "level_4")
"""The header of the released AVO-65 file, its typo included."""
MANGLED_ID = "#NAME?"
"""What a spreadsheet made of ids that begin with a minus sign."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A class of AVO-65: its name and its ids on the four levels."""

    name: str
    level_ids: tuple[int, int, int, int]

    @property
    def class_id(self) -> int:
        """The id on level 4, which sound and picture follow."""
        return self.level_ids[3]


LEAVES = (
    Leaf("Accordion", (3, 5, 8, 0)),
    Leaf("Electric_guitar", (4, 7, 12, 21)),
    Leaf("Violin", (2, 4, 6, 62)),
    Leaf("Timpani", (1, 2, 3, 55)),
    Leaf("Gong", (0, 0, 0, 27)),
    Leaf("Flute", (3, 6, 9, 24)),
    Leaf("Synthesizer", (4, 10, 15, 49)),
    Leaf("Piano", (2, 3, 5, 38)),
)
"""Eight of AVO-65's 65 classes, all five of its roots among them."""


class Fault(enum.Enum):
    """What goes wrong with rows and files in the real world."""

    MANGLED_ID = "the id in the CSV is #NAME?"
    NO_FILE = "no file belongs to the row"
    TRUNCATED = "the file ends early, though its header promises the whole clip"
    NOT_MEDIA = "the file is no media"
    NO_SOUND = "the file has no audio stream"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the CSV, and what is to be made for it."""

    number: int
    """1-based number of the data row; the number that the clip's picture and sound carry."""
    file_name: str
    """The column `ytid`."""
    start_s: int
    leaf: Leaf
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Variety:
    """What the clips are drawn from; each clip's draw depends on the seed and its number only."""

    sizes: tuple[tuple[int, int], ...] = ((320, 240), (480, 360), (640, 360))
    """(width, height) in pixels."""
    frame_rates_hz: tuple[Fraction, ...] = (Fraction(25), Fraction(30000, 1001), Fraction(30))
    sample_rates_hz: tuple[int, ...] = (44100, 48000)
    channels: tuple[int, ...] = (1, 2)
    duration_s: float = 10.0

    def __post_init__(self) -> None:
        for width, height in self.sizes:
            # A block of the code is 3/32 of the short side: below 9 pixels neither JPEG nor H.264 keeps it.
            if width % 2 or height % 2 or min(width, height) < 96:
                raise UsageError(f"size {width}x{height}: give even sides of at least 96 pixels")
        for rate_hz in self.frame_rates_hz:
            if rate_hz <= 0 or not 1 <= round(self.duration_s * rate_hz) <= MAX_FRAMES:
                raise UsageError(f"{self.duration_s} s at {rate_hz} frames a second: give 1 to {MAX_FRAMES} frames")

    def format_of(self, number: int, *, seed: int) -> "MediaFormat":
        """The format of clip `number`: it depends on nothing else but the seed."""
        draw = np.random.default_rng([seed, number, 0])
        return MediaFormat(
            *self.sizes[draw.integers(len(self.sizes))],
            frame_rate_hz=self.frame_rates_hz[draw.integers(len(self.frame_rates_hz))],
            sample_rate_hz=self.sample_rates_hz[draw.integers(len(self.sample_rates_hz))],
            channels=self.channels[draw.integers(len(self.channels))],
            duration_s=self.duration_s,
        )


@dataclass(frozen=True, slots=True)
class MediaFormat:
    """The outward form of one clip."""

    width: int
    height: int
    frame_rate_hz: Fraction
    sample_rate_hz: int
    channels: int
    duration_s: float

    @property
    def frame_count(self) -> int:
        """Number of frames that come nearest to the duration."""
        return round(self.duration_s * self.frame_rate_hz)

    @property
    def sample_count(self) -> int:
        """Samples of one channel."""
        return round(self.duration_s * self.sample_rate_hz)


# --- sound -----------------------------------------------------------------------------------------------


def pitch_hz(class_id: int) -> float:
    """Pitch of a class's tone: 16 steps an octave keep 65 classes below 1,770 Hz, away from the pilot."""
    return 110.0 * math.pow(2.0, class_id / 16)


def pilot_hz(number: int) -> float:
    """Frequency of a clip's pilot tone: above the third harmonic of every class, below 8 kHz."""
    return 5600.0 + 5.0 * (number % 400)


def _sound(row: Row, form: MediaFormat, *, seed: int) -> NDArray[np.float32]:
    """float32 [channels, samples]: a note a second with vibrato and harmonics, the pilot, a little noise."""
    t_s = np.arange(form.sample_count) / form.sample_rate_hz
    pitch = pitch_hz(row.leaf.class_id)
    vibrato_hz = 5.0
    # Phase of a tone whose frequency swings by 0.5 % around the pitch.
    phase = 2 * math.pi * pitch * t_s + 0.005 * pitch / vibrato_hz * np.sin(2 * math.pi * vibrato_hz * t_s)
    note = 0.5 + 0.5 * np.exp(-3 * (t_s % 1.0))
    tone = note * (0.3 * np.sin(phase) + 0.09 * np.sin(2 * phase) + 0.045 * np.sin(3 * phase))
    tone += 0.05 * np.sin(2 * math.pi * pilot_hz(row.number) * t_s)
    noise = np.random.default_rng([seed, row.number, 1]).standard_normal((form.channels, form.sample_count))
    # Unequal channels: a swapped or dropped one shows.
    gains = np.linspace(1.0, 0.7, form.channels)[:, None]
    return (gains * tone + 0.003 * noise).astype(np.float32)


# --- picture ---------------------------------------------------------------------------------------------

MAX_FRAMES = 1 << 12
MAX_CLIPS = 1 << 16
_CODE_ROWS, _CODE_COLUMNS = 4, 8
# The code's place and size in units of the centred square's side: inside a centre crop of 224 out of 256,
# and found again at any size that the square is scaled to.
_CODE_LEFT, _CODE_TOP, _BLOCK = 1 / 8, 1 / 2, 3 / 32


@dataclass(frozen=True, slots=True)
class FrameCode:
    """What a frame's block code says."""

    number: int
    """The clip's number."""
    frame: int
    """0-based number of the frame in its clip."""

    def word(self) -> int:
        """32 bits: sixteen of clip number, twelve of frame number, four of check sum."""
        # Gray code: one of the twelve changes from a frame to the next, which is cheap to encode.
        word = self.number << 16 | (self.frame ^ self.frame >> 1) << 4
        check = 0xF  # not zero for zero: an all-black picture is no code
        for shift in range(4, 32, 4):
            check ^= word >> shift & 0xF
        return word | check

    def blocks(self) -> NDArray[np.bool_]:
        """Bool [4, 8], the word from its highest bit on, row by row; True is white."""
        bits = [self.word() >> bit & 1 for bit in range(31, -1, -1)]
        return np.array(bits, dtype=np.bool_).reshape(_CODE_ROWS, _CODE_COLUMNS)


def read_code(picture: NDArray[np.uint8]) -> FrameCode | None:
    """The code that a decoded frame shows, or None where none is clear, as in a blend of two frames.

    Args:
        picture: uint8 [H, W, 3] RGB or [H, W] luma; the source's frame or a centred part of it that keeps the
            short side whole, at any scale whose blocks are a few pixels wide.
    """
    luma = picture.mean(axis=2) if picture.ndim == 3 else picture
    height, width = luma.shape
    side = min(width, height)
    left = (width - side) / 2 + _CODE_LEFT * side
    top = (height - side) / 2 + _CODE_TOP * side
    block = _BLOCK * side
    word = 0
    for row in range(_CODE_ROWS):
        for column in range(_CODE_COLUMNS):
            # The middle half of the block: rims are blurred by scaling and by chroma.
            y, x = top + (row + 0.25) * block, left + (column + 0.25) * block
            level = luma[round(y) : round(y + block / 2), round(x) : round(x + block / 2)].mean()
            if 80 < level < 176:
                return None
            word = word << 1 | int(level > 128)
    gray, frame = word >> 4 & 0xFFF, 0
    while gray:
        frame ^= gray
        gray >>= 1
    code = FrameCode(word >> 16, frame)
    return code if code.word() == word else None


def _texture(row: Row, *, width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """uint8 [height, width] luma: stripes, checks or bumps by class, with grain by clip."""
    class_id = row.leaf.class_id
    # Golden angle and a stride of 7: neighbouring classes differ in direction and in period.
    angle = class_id * 2.39996
    period = 24 + 7 * class_id % 41
    y, x = np.ogrid[0:height, 0:width]
    along = np.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period)
    across = np.sin(2 * math.pi * (y * math.cos(angle) - x * math.sin(angle)) / period)
    shape = (along, np.sign(along * across), along * across)[class_id % 3]
    grain = np.random.default_rng([seed, row.number, 2]).standard_normal((height, width))
    brightness = 110 + 10 * (row.number % 4)
    return np.clip(brightness + 40 * shape + 2 * grain, 16, 235).astype(np.uint8)


def _frames(row: Row, form: MediaFormat, *, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yields uint8 [H * 3 / 2, W] yuv420p pictures, all in one buffer: use each before the next."""
    width, height = form.width, form.height
    buffer = np.empty(width * height * 3 // 2, dtype=np.uint8)
    luma = buffer[: width * height].reshape(height, width)
    chroma = buffer[width * height :].reshape(2, height // 2, width // 2)
    hue = row.leaf.class_id * 2.39996
    chroma[0] = round(128 + 45 * math.cos(hue))
    chroma[1] = round(128 + 45 * math.sin(hue))

    side = min(width, height)
    left, top = (width - side) / 2 + _CODE_LEFT * side, (height - side) / 2 + _CODE_TOP * side
    xs = [round(left + column * _BLOCK * side) for column in range(_CODE_COLUMNS + 1)]
    ys = [round(top + line * _BLOCK * side) for line in range(_CODE_ROWS + 1)]
    chroma[:, ys[0] // 2 : (ys[-1] + 1) // 2, xs[0] // 2 : (xs[-1] + 1) // 2] = 128
    widths, heights = np.diff(xs), np.diff(ys)

    # The pattern swings behind the frame as behind a window, by whole pixels: motion that x264 finds at once.
    swing = 32
    texture = _texture(row, width=width + swing, height=height + swing, seed=seed)
    speed = 1 + row.number % 3
    for frame in range(form.frame_count):
        step = abs((frame * speed + row.number) % (2 * swing) - swing)
        luma[:] = texture[swing - step : swing - step + height, step : step + width]
        blocks = np.where(FrameCode(row.number, frame).blocks(), 235, 16).astype(np.uint8)
        luma[ys[0] : ys[-1], xs[0] : xs[-1]] = blocks.repeat(heights, axis=0).repeat(widths, axis=1)
        yield buffer.reshape(height * 3 // 2, width)


# --- files -----------------------------------------------------------------------------------------------


def write_clip(path: Path, row: Row, *, variety: Variety, seed: int = 0) -> None:
    """Writes one MP4, its fault included; the same bytes for the same arguments and FFmpeg libraries."""
    if row.fault in (Fault.MANGLED_ID, Fault.NO_FILE):
        return
    if row.fault is Fault.NOT_MEDIA:
        path.write_text("<html><body>This video is no longer available.</body></html>\n", encoding="utf-8")
        return
    _encode(path, row, variety.format_of(row.number, seed=seed), seed=seed)
    if row.fault is Fault.TRUNCATED:
        os.truncate(path, path.stat().st_size * 2 // 5)


def _encode(path: Path, row: Row, form: MediaFormat, *, seed: int) -> None:
    # faststart: the header in front, as downloads have it; a truncated file opens and promises everything.
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        # Two B-frames on top of ultrafast: decoding order differs from showing order, as in real files.
        video = container.add_stream(
            "libx264", rate=form.frame_rate_hz, options={"preset": "ultrafast", "bf": "2", "g": "60"}
        )
        video.width, video.height, video.pix_fmt = form.width, form.height, "yuv420p"
        # x264's bytes depend on the number of threads.
        video.codec_context.thread_count = 1
        video.codec_context.flags |= av.codec.context.Flags.bitexact
        audio = None
        seconds: Iterator[av.AudioFrame] = iter(())
        if row.fault is not Fault.NO_SOUND:
            audio = container.add_stream("aac", rate=form.sample_rate_hz, layout=_layout(form))
            audio.bit_rate = 64_000 * form.channels
            audio.codec_context.flags |= av.codec.context.Flags.bitexact
            seconds = _audio_frames(row, form, seed=seed)

        for number, pixels in enumerate(_frames(row, form, seed=seed)):
            # A second of sound as its first picture comes: the muxer interleaves without a long queue.
            if audio is not None and number % math.ceil(form.frame_rate_hz) == 0:
                for samples in itertools.islice(seconds, 1):
                    container.mux(audio.encode(samples))
            picture = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            picture.pts, picture.time_base = number, 1 / form.frame_rate_hz
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio is not None:
            for samples in seconds:
                container.mux(audio.encode(samples))
            container.mux(audio.encode(None))


def _layout(form: MediaFormat) -> str:
    return "mono" if form.channels == 1 else "stereo"


def _audio_frames(row: Row, form: MediaFormat, *, seed: int) -> Iterator[av.AudioFrame]:
    """Yields the clip's sound, a second at a time."""
    sound = _sound(row, form, seed=seed)
    for start in range(0, form.sample_count, form.sample_rate_hz):
        piece = np.ascontiguousarray(sound[:, start : start + form.sample_rate_hz])
        samples = av.AudioFrame.from_ndarray(piece, format="fltp", layout=_layout(form))
        samples.sample_rate, samples.pts = form.sample_rate_hz, start
        samples.time_base = Fraction(1, form.sample_rate_hz)
        yield samples


def make_media(
    out_dir: Path, rows: Sequence[Row], *, variety: Variety, seed: int = 0, workers: int | None = None
) -> None:
    """Writes the media of `rows` into `out_dir`, which is made where it is missing.

    `workers` is the number of processes, one a CPU where it is None; the bytes do not depend on it.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    write = functools.partial(_write_one, out_dir, variety=variety, seed=seed)
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        for row in rows:
            write(row)
        return
    # spawn: a fork would carry the locks of the caller's threads along.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for _ in pool.map(write, rows, chunksize=4):
            pass


def _write_one(out_dir: Path, row: Row, *, variety: Variety, seed: int) -> None:
    write_clip(out_dir / row.file_name, row, variety=variety, seed=seed)


# --- rows ------------------------------------------------------------------------------------------------


def invented_rows(clips: int, *, classes: Sequence[Leaf] = LEAVES, seed: int = 0, faults: bool = False) -> list[Row]:
    """`clips` good rows over `classes` in turn; with `faults` one more for every `Fault`, in between."""
    if clips < 1 or not classes:
        raise UsageError(f"{clips} clips over {len(classes)} classes: give at least one of each")
    total = clips + (len(Fault) if faults else 0)
    if total >= MAX_CLIPS:
        raise UsageError(f"{clips} clips: the code counts {MAX_CLIPS - 1}, give fewer")
    draw = np.random.default_rng([seed])
    kinds: list[Fault | None] = [None] * clips
    if faults:
        for place, kind in enumerate(Fault, start=1):
            kinds.insert(place * total // (len(Fault) + 1), kind)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    rows = []
    for number, fault in enumerate(kinds, start=1):
        video_id = "".join(alphabet[letter] for letter in draw.integers(len(alphabet), size=11))
        start_s = 10 * int(draw.integers(1, 30))
        file_name = MANGLED_ID if fault is Fault.MANGLED_ID else f"{video_id}_{start_s:06d}.mp4"
        rows.append(Row(number, file_name, start_s, classes[(number - 1) % len(classes)], fault))
    return rows


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes `rows` as the released AVO-65 file has them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        writer.writerows((row.file_name, row.start_s, row.leaf.name, *row.leaf.level_ids) for row in rows)


def rows_of_csv(path: Path, *, count: int, seed: int = 0) -> list[Row]:
    """`count` rows of a CSV in the released style, spread evenly over the classes, in the file's order.

    Rows whose id is `#NAME?` name no file and are passed over.

    Raises:
        UsageError: There are fewer rows than that.
        DataError: The file is no AVO-65 CSV.
    """
    by_class: dict[int, list[Row]] = defaultdict(list)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if tuple(header) != CSV_COLUMNS:
            raise DataError(f"{path}: columns are {header}, not {','.join(CSV_COLUMNS)}; give AVO-65.csv")
        for number, cells in enumerate(reader, start=1):
            if cells[0] == MANGLED_ID:
                continue
            if Path(cells[0]).name != cells[0]:
                raise DataError(f"{path}, row {number}: ytid {cells[0]!r} is no bare file name; mend the row")
            try:
                start_s, level_1, level_2, level_3, level_4 = (int(cells[place]) for place in (1, 3, 4, 5, 6))
            except (IndexError, ValueError) as exc:
                raise DataError(f"{path}, row {number}: {exc}; mend its start_time and levels") from exc
            leaf = Leaf(cells[2], (level_1, level_2, level_3, level_4))
            by_class[level_4].append(Row(number, cells[0], start_s, leaf))
    available = sum(map(len, by_class.values()))
    if not 1 <= count <= available:
        raise UsageError(f"{path}: {count} rows asked for, {available} name a file")
    # The seed orders each class's rows; then one row of each class in turn until there are enough.
    turns = []
    for class_id, rows in sorted(by_class.items()):
        order = np.random.default_rng([seed, class_id]).permutation(len(rows))
        turns += [(turn, class_id, rows[place]) for turn, place in enumerate(order)]
    turns.sort(key=lambda entry: entry[:2])
    return sorted((row for _, _, row in turns[:count]), key=lambda row: row.number)


def synthesise(
    out_dir: Path,
    *,
    clips: int,
    classes: Sequence[Leaf] = LEAVES,
    seed: int = 0,
    faults: bool = False,
    variety: Variety | None = None,
    annotations: Path | None = None,
    workers: int | None = None,
) -> list[Row]:
    """Invents rows, writes their media into `out_dir` and the CSV to `annotations` (None: beside the media).

    Returns:
        The rows of the CSV, in its order; `fault` says what is wrong with which.
    """
    rows = invented_rows(clips, classes=classes, seed=seed, faults=faults)
    make_media(out_dir, rows, variety=variety or Variety(), seed=seed, workers=workers)
    write_csv(annotations or out_dir / "annotations.csv", rows)
    return rows


# --- command line ----------------------------------------------------------------------------------------


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Synthesise clips whose sound and picture follow the class.")
    parser.add_argument("out", type=Path, help="folder that the media go to")
    parser.add_argument("--clips", type=int, default=60, help="good clips to invent (60)")
    parser.add_argument("--with-faults", action="store_true", help="one row more for each kind of fault")
    parser.add_argument("--annotations", type=Path, help="where the CSV goes (OUT/annotations.csv)")
    parser.add_argument("--csv", type=Path, help="make the media that this AVO-65 CSV names")
    parser.add_argument("--rows", type=int, default=600, help="with --csv: rows to make media for (600)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--duration", type=float, default=10.0, help="seconds (10)")
    parser.add_argument("--size", type=_size, help="WIDTHxHEIGHT of all clips (three sizes mixed)")
    parser.add_argument("--fps", type=Fraction, help="frame rate of all, like 25 or 30000/1001 (three mixed)")
    parser.add_argument("--workers", type=int, help="processes (one a CPU)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    started_s = time.perf_counter()
    try:
        variety = Variety(duration_s=options.duration)
        if options.size:
            variety = replace(variety, sizes=(options.size,))
        if options.fps is not None:
            variety = replace(variety, frame_rates_hz=(options.fps,))
        if options.csv:
            rows = rows_of_csv(options.csv, count=options.rows, seed=options.seed)
            make_media(options.out, rows, variety=variety, seed=options.seed, workers=options.workers)
        else:
            rows = synthesise(
                options.out,
                clips=options.clips,
                seed=options.seed,
                faults=options.with_faults,
                variety=variety,
                annotations=options.annotations,
                workers=options.workers,
            )
    except (ShardkitError, OSError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    faults = sum(row.fault is not None for row in rows)
    elapsed_s = time.perf_counter() - started_s
    print(f"{len(rows)} rows ({faults} with a fault), media in {options.out}, {elapsed_s:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
