"""How long the first batch takes with a large index, from `shardkit.loader()` on, imports excluded.

The data set has as many rows as asked for; they are the rows of a real one over and over, under new keys, pointing at
the same bytes.

    python benchmarks/first_batch.py SHARDS [--clips 30000] [--repeats 5] [--json OUT]
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

import shardkit
import shardkit.loading.loader  # the imports are not what is measured
from shardkit.format.digest import file_digest
from shardkit.format.index import encode_index
from shardkit.format.manifest import FileInfo


def repeated(source: Path, folder: Path, clips: int) -> None:
    """Writes a data set of `clips` rows into `folder`."""
    dataset = shardkit.open(source)
    rows = np.sort(np.arange(clips) % len(dataset))
    table = pa.Table.from_batches([dataset.index.batch]).take(pa.array(rows))
    place = table.schema.get_field_index("key")
    keys = pa.array([f"clip{row}_0" for row in range(clips)], pa.large_string())
    batch = table.set_column(place, table.schema.field(place), keys).combine_chunks().to_batches()[0]
    data = encode_index(batch)
    (folder / "index.arrow").write_bytes(data)
    manifest = replace(dataset.manifest, clip_count=clips, index=FileInfo(len(data), file_digest(data)))
    (folder / "dataset.json").write_bytes(manifest.to_bytes())
    for shard in manifest.shards:
        shutil.copy(source / shard.name, folder / shard.name)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--clips", type=int, default=30_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    times_s = []
    with tempfile.TemporaryDirectory() as folder:
        repeated(arguments.shards, Path(folder), arguments.clips)
        for _ in range(arguments.repeats):
            began_s = time.perf_counter()
            with shardkit.loader(folder, batch_size=16, size=224, workers=2) as loader:
                next(iter(loader))
                times_s.append(time.perf_counter() - began_s)
    print(f"{arguments.clips:,} clips: first batch after {statistics.median(times_s):.3f} s (runs {times_s})")
    if arguments.json:
        arguments.json.write_text(json.dumps({"clips": arguments.clips, "runs_s": times_s}, indent=1) + "\n")


if __name__ == "__main__":
    main()
