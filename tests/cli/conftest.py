"""A little to run the command on."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from command_line import SMALL, run
from synth_media import Variety, synthesise


@dataclass(frozen=True)
class Material:
    """Media and the annotation file that names them."""

    media: Path
    annotations: Path
    """Ten rows: five good ones and one of every fault."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of `shardkit pack`, without the output."""
        return ("pack", str(self.annotations), "--media", str(self.media), *SMALL)


@pytest.fixture(scope="session")
def material(tmp_path_factory):
    """Five good clips of ten seconds, and the faults of the real world."""
    folder = tmp_path_factory.mktemp("material")
    variety = Variety(sizes=((128, 96),), frame_rates_hz=(Fraction(10),), sample_rates_hz=(16000,))
    annotations = folder / "clips.csv"
    synthesise(folder / "media", clips=5, faults=True, variety=variety, annotations=annotations, workers=1)
    return Material(folder / "media", annotations)


@pytest.fixture(scope="session")
def packed(material, tmp_path_factory):
    """A data set, and what the command said when it made it."""
    out = tmp_path_factory.mktemp("packed") / "sh[ar]ds"
    said = run(*material.arguments, "--out", out)
    assert said.returncode == 0, said.stderr
    return out, said.stdout
