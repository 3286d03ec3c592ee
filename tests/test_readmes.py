"""The READMEs inside the package do not drift from the code."""

import re
from pathlib import Path

LOADING = Path(__file__).parent.parent / "shardkit" / "loading"


def test_the_tree_of_loading_names_every_module():
    """`shardkit/loading/README.md` lists each module once, and nothing that is not there."""
    tree = (LOADING / "README.md").read_text("utf-8").split("## Where things are")[1].split("##")[0]
    listed = re.findall(r"^    (\w+\.py)", tree, flags=re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in LOADING.glob("*.py") if path.name != "__init__.py")
