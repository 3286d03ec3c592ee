"""decoder="decord" for frames of every width, also where decord takes the padding of rows for channels."""

import json

import numpy as np
import pytest
from synth_media import LEAVES, Variety, synthesise

import shardkit
from shardkit.media.decord_video import decode_video
from shardkit.media.jpeg import encode_jpeg, psnr_db
from shardkit.media.mux import mux_mjpeg


@pytest.mark.parametrize("width", [8, 12, 16, 24, 32, 48, 64, 96, 100, 112, 144, 341])
def test_frames_of_every_width_are_decoded(width):
    """Rows are padded to 32 or 64 pixels, which three, four or twenty-four times the width may be: it is cut off."""
    y, x = np.mgrid[0:32, 0:width]
    rgb = np.stack([np.stack([255 * x // width, 7 * y, 100 * i + 0 * x], axis=2) for i in range(2)]).astype(np.uint8)
    packets = [encode_jpeg(picture, quality=95, chroma="444") for picture in rgb]
    out = np.zeros_like(rgb)
    decode_video(mux_mjpeg(packets, [0.0, 0.1], width=width, height=32).data, [0, 1], out=out)
    assert psnr_db(out, rgb) > 35


def test_a_loader_reads_square_frames_of_96_by_decord(tmp_path):
    """Both decoders give the same pictures, but for what they make of JPEG's colours."""
    media = synthesise(tmp_path / "media", clips=4, classes=LEAVES[:2], variety=Variety(duration_s=1.0))
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps({"media": row.file_name, "label": row.leaf.name}) + "\n" for row in media))
    shardkit.pack(table, media=tmp_path / "media", out=tmp_path / "shards", frames=2, size=96, fit="square", workers=1)
    options = {"batch_size": 4, "modalities": ("video",), "workers": 1, "shuffle": False}
    with (
        shardkit.loader(tmp_path / "shards", **options) as ours,
        shardkit.loader(tmp_path / "shards", decoder="decord", **options) as theirs,
    ):
        one, other = (next(iter(loader)).video.numpy() for loader in (ours, theirs))
    assert one.shape == (4, 2, 3, 96, 96)
    assert psnr_db(other, one) > 35
