"""`shardkit stats`: what it says where front end and data set, or torchaudio and torch, do not fit."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
from command_line import run

USAGE = 2


@pytest.fixture
def torchaudio_of_another_build(tmp_path, monkeypatch):
    """For commands: the installed torchaudio, whose import fails as one does that was built for another torch."""
    spec = importlib.util.find_spec("torchaudio")
    if spec is None or spec.origin is None:
        pytest.skip("torchaudio is not installed")
    package = tmp_path / "packages" / "torchaudio"
    package.mkdir(parents=True)
    for name in ("functional", "transforms", "compliance", "_internal"):
        (package / name).symlink_to(Path(spec.origin).parent / name)
    (package / "__init__.py").write_text('raise OSError("libc10_cuda.so: cannot open shared object file")\n')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(package.parent), os.environ.get("PYTHONPATH", ""))))


def test_front_end_of_another_rate_is_refused_with_the_ways_on(packed, torchaudio_of_another_build):
    """PaSST wants 32 kHz and the data set has 16: how to pack for it, and which front ends fit; one line in all."""
    said = run("stats", packed[0], "--frontend", "passt")
    assert said.returncode == USAGE
    (line,) = said.stderr.splitlines()
    assert line.startswith("error: passt takes audio of 32000 Hz, this has 16000 Hz: ")
    assert "--audio-rate 32000" in line
    assert line.endswith("; front ends for 16000 Hz: ast, psla, mbt, vggish")
    assert said.stdout == ""


def test_torchaudio_of_another_build_is_a_note(packed, torchaudio_of_another_build):
    """Its pure part gives the same numbers: said once, and not as a warning."""
    said = run("stats", packed[0], "--workers", "1")
    assert said.returncode == 0, said.stderr
    (line,) = said.stderr.splitlines()
    assert line.startswith("note: torchaudio ")
    assert "the same results" in line
    assert "mean" in said.stdout


def test_json_for_machines_comes_without_notes(packed, torchaudio_of_another_build):
    """With --json nothing else is printed, on neither stream."""
    said = run("stats", packed[0], "--workers", "1", "--json")
    assert json.loads(said.stdout)["frontend"] == "ast"
    assert said.stderr == ""
