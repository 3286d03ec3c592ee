"""Options with fixed choices: what the command line offers is what the functions behind it take."""

from typing import get_args

import pytest
from command_line import run

import shardkit
from shardkit.annotations import FormatName, LevelNames
from shardkit.cli import app
from shardkit.loading.config import MODALITIES
from shardkit.packing.job import EngineName
from shardkit.planning.sampling import FrameChoice
from shardkit.transforms.frontends import FrontEndName

PACK, INDEX, LOADER = (function.__annotations__ for function in (shardkit.pack, shardkit.index, shardkit.loader))
BRACKETS = str.maketrans("<>", "[]")
"""Releases of typer differ in them."""


def choices(annotation):
    """The values of a Literal; None where it is optional."""
    return {
        value
        for part in get_args(annotation)
        for value in ([None] if part is type(None) else [part] if isinstance(part, str) else get_args(part))
    }


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (app.Format, choices(FormatName)),
        (app.Names, choices(LevelNames)),
        (app.Fit, choices(PACK["fit"])),
        (app.Fit | None, choices(INDEX["fit"])),
        (app.Require, choices(INDEX["require"])),
        (app.VideoCodec, choices(PACK["video_codec"])),
        (app.Chroma | None, choices(PACK["chroma"])),
        (app.AudioCodec, choices(PACK["audio_codec"])),
        (app.PackRequire | None, choices(PACK["require"])),
        (app.FrameChoice, choices(FrameChoice)),
        (app.Decoder, choices(LOADER["decoder"])),
        (app.WorkerType, choices(LOADER["worker_type"])),
        (app.FrontEnd, choices(FrontEndName)),
        (app.Modality, set(MODALITIES)),
        (app.Engine, choices(EngineName)),
        (app.Engine, choices(PACK["engine"])),
    ],
)
def test_options_offer_what_functions_take(offered, taken):
    """No choice is missing on the command line, and none is refused behind it."""
    assert choices(offered) == taken


def test_none_is_a_word_on_the_command_line():
    """`--crop none` stands for crop=None."""
    assert choices(app.Crop) - {"none"} | {None} == choices(LOADER["crop"])


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("pack", "--video-codec <mjpeg|h264|raw>"),
        ("index", "--require <av|audio|video|any>"),
        ("stats", "--frontend <ast|psla|passt|mbt|vggish>"),
        ("bench", "--crop <center|random|none>"),
    ],
)
def test_help_shows_the_choices(command, shown):
    """Each option with fixed choices lists them."""
    said = run(command, "--help")
    assert shown.translate(BRACKETS) in said.stdout.translate(BRACKETS)
