"""webdataset's TarWriter, without the rest of webdataset, which would import torch: two seconds before a first clip."""

import importlib
import sys
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

STAND_IN = "_shardkit_webdataset"
"""Package under whose name the writer's module is imported; `webdataset` itself is neither imported nor replaced."""


@cache
def tar_writer_class() -> Any:
    """The class `TarWriter` of `webdataset/writer.py`."""
    spec = find_spec("webdataset")
    assert spec is not None
    stand_in = ModuleType(STAND_IN)
    stand_in.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[STAND_IN] = stand_in
    return importlib.import_module(f"{STAND_IN}.writer").TarWriter
