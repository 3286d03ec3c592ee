"""Clips to decode."""

from fractions import Fraction

import pytest
from synth_media import LEAVES, Row, Variety, write_clip


@pytest.fixture
def make_clip():
    """Writes a clip of some length: `make_clip(path, seconds=2.0)`."""

    def make(path, *, seconds):
        variety = Variety(
            sizes=((128, 96),),
            frame_rates_hz=(Fraction(10),),
            sample_rates_hz=(16000,),
            channels=(1,),
            duration_s=seconds,
        )
        write_clip(path, Row(1, path.name, 0, LEAVES[0]), variety=variety)
        return path

    return make
