"""What asking for help costs: no torch, no decoder."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "av", "decord", "simplejpeg", "fsspec")


def imported(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after running some code."""
    report = f"\nimport sys\nsys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    said = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(said.stderr.split())


def test_import_of_the_package_is_cheap():
    """`import shardkit` loads none of them, and its functions are there to be seen."""
    assert imported("import shardkit; assert 'loader' in dir(shardkit)") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["pack", "--help"], ["loader"], ["--version"]], ids=" ".join)
def test_help_is_cheap(arguments):
    """Neither help nor a mistyped command loads any of them."""
    code = (
        "import contextlib, io, sys\n"
        "from shardkit.cli import main\n"
        f"sys.argv = ['shardkit', *{arguments!r}]\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):\n"
        "    main()\n"
    )
    assert imported(code) == set()


def test_heavy_packages_are_seen_when_they_are_loaded():
    """The measure itself works: a front-door function that decodes brings a decoder in."""
    assert "simplejpeg" in imported("import simplejpeg")
