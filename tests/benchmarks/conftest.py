"""A folder that every contestant can work in: 24 clips of a second, packed in two shapes."""

import pytest

from benchmarks.loaders.prepare import BenchFolder, make_packed
from benchmarks.loaders.scale import TINY


@pytest.fixture(scope="session")
def bench_folder(tmp_path_factory: pytest.TempPathFactory) -> BenchFolder:
    """Packed `square` and `short`; peers' copies are made by those who need them."""
    folder = BenchFolder(tmp_path_factory.mktemp("bench"))
    make_packed(folder, TINY, "square", workers=2)
    make_packed(folder, TINY, "short", workers=2)
    return folder
