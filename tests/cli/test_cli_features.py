"""Features at the command line: packed without media, counted, measured."""

import json

import h5py
import numpy as np
import pytest

from shardkit.cli import main


def test_a_data_set_of_features_only_is_packed_shown_and_measured(tmp_path, monkeypatch, capsys):
    """No --media; `info` counts the arrays and says their shape, `bench` loads them."""
    table, out = tmp_path / "table.csv", tmp_path / "out"
    table.write_text("id,start_s,end_s,label\n" + "".join(f"id{row},0,10,bell\n" for row in range(8)))
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["data"] = np.ones((8, 10, 128), np.float32)

    def said(*arguments):
        monkeypatch.setattr("sys.argv", ["shardkit", *map(str, arguments)])
        with pytest.raises(SystemExit, match="0"):
            main()
        return capsys.readouterr().out

    assert json.loads(said("pack", table, "--out", out, "--features", f"vggish={tmp_path}/f.h5:data", "--json"))
    assert "feature vggish: 10x128 of 8" in said("info", out)
    options = ("--features", "vggish", "--seconds", "0.1", "--batch-size", "4", "--worker-type", "thread")
    assert "vggish float32 [4, 10, 128]" in said("bench", out, *options)
