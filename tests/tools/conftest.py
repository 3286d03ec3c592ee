"""Makes the scripts in tools/ importable, here and in the processes that they start."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import pytest

from tools.baselines.synthetic import Sizes, make

MICRO = {
    "fusion": Sizes(train=40, val=20, test=20),
    "avel": Sizes(train=16, val=16, test=16, background=8),
    "cml": Sizes(train=16, val=16, test=16),
    "spelled": Sizes(train=0, val=0, test=16),
}


@pytest.fixture(scope="session")
def baseline_data(tmp_path_factory):
    """Makes the data sets of the baselines, each when it is first asked for, much smaller than they are."""
    folder = tmp_path_factory.mktemp("baselines")
    made = {}

    def of(name):
        if name not in made:
            made[name] = make(name, folder, sizes=MICRO[name], workers=1)
        return folder

    return of
