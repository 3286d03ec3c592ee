"""What `make demo` runs: synthesise clips, pack them, load them, and say what happened.

Everything is written below ./demo, which is made anew each time.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from synth_media import Fault, synthesise

import shardkit

DEMO = Path("demo")
MEDIA, ANNOTATIONS, SHARDS = DEMO / "media", DEMO / "annotations.csv", DEMO / "shards"
CLIPS, BATCH_SIZE, FRAMES, SIZE = 60, 8, 8, 224
EPOCHS = 5


def headline(text: str) -> None:
    """Prints `text` so that the eye finds it."""
    print(f"\n== {text}", flush=True)


def make_clips() -> None:
    """Writes the clips and the CSV, a few faults of the real world among them."""
    headline("1. Clips: H.264 + AAC and a CSV in the style of AVO-65")
    started_s = time.perf_counter()
    rows = synthesise(MEDIA, clips=CLIPS, faults=True, annotations=ANNOTATIONS)
    print(f"{len(rows)} rows in {ANNOTATIONS}, media in {MEDIA}, {time.perf_counter() - started_s:.1f} s")
    print(f"{len(Fault)} of them are faulty on purpose:")
    for row in rows:
        if row.fault:
            print(f"  row {row.number:>2}, {row.file_name}: {row.fault.value}")


def pack() -> None:
    """Runs `shardkit pack` as a user would, then lists the rejects and the files."""
    arguments = ["pack", str(ANNOTATIONS), "--media", str(MEDIA), "--out", str(SHARDS), "--overwrite"]
    headline(f"2. shardkit {' '.join(arguments)}")
    subprocess.run([sys.executable, "-m", "shardkit", *arguments], check=True)

    headline("3. What was packed and what was not")
    rejects = [json.loads(line) for line in (SHARDS / "rejects.jsonl").read_text("utf-8").splitlines()]
    print(f"{len(shardkit.open(SHARDS))} clips packed, {len(rejects)} rejected:")
    for reject in rejects:
        print(f"  row {reject['row']:>2}, {reject['id']}: {reject['reason']}: {reject['detail']}")

    headline("4. On disk")
    for path in sorted(SHARDS.rglob("*")):
        if path.is_file():
            print(f"  {path.stat().st_size:>12,} bytes  {path}")


def load() -> None:
    """Prints one batch's shapes and dtypes, then the loader's speed over whole epochs."""
    headline(f'5. shardkit.loader("{SHARDS}", batch_size={BATCH_SIZE}, frames={FRAMES}, size={SIZE})')
    with shardkit.loader(SHARDS, batch_size=BATCH_SIZE, frames=FRAMES, size=SIZE) as loader:
        batch = next(iter(loader))
        for name, tensor in {"video": batch.video, "audio": batch.audio, **batch.labels}.items():
            print(f"  {name:<12} {tensor.dtype!s:<14} {list(tensor.shape)}")
        for _ in loader:  # warms up: files come into the page cache
            pass
        clips, started_s = 0, time.perf_counter()
        for _ in range(EPOCHS):
            for batch in loader:
                clips += int(batch.weight.sum())  # the padding of the last batch has weight 0
        elapsed_s = time.perf_counter() - started_s
    print(f"\n{clips / elapsed_s:.0f} clips/s: {clips} clips in {elapsed_s:.2f} s, {EPOCHS} warm epochs")
    print(f"measured: {FRAMES} frames at {SIZE}x{SIZE} and all the sound of every clip, decoded anew;")
    print("local files in the page cache, default workers, a consumer that only counts")


def main() -> int:
    """Runs the demo; returns the exit code."""
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    make_clips()
    pack()
    load()
    return 0


if __name__ == "__main__":
    sys.exit(main())
