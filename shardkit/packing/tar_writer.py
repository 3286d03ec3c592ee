"""webdataset's TarWriter, without the rest of webdataset, which would import torch: two seconds before a first clip."""

import importlib
import sys
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

PACKAGE = "webdataset"


@cache
def tar_writer_class() -> Any:
    """The class `webdataset.TarWriter`.

    Its module is imported below a bare stand-in of the package; `sys.modules` is left as it was.
    """
    if PACKAGE in sys.modules:
        return sys.modules[PACKAGE].TarWriter
    spec = find_spec(PACKAGE)
    assert spec is not None
    stand_in = ModuleType(PACKAGE)
    stand_in.__path__ = list(spec.submodule_search_locations or ())
    before = set(sys.modules)
    sys.modules[PACKAGE] = stand_in
    try:
        return importlib.import_module(f"{PACKAGE}.writer").TarWriter
    finally:
        for name in set(sys.modules) - before:
            if name == PACKAGE or name.startswith(f"{PACKAGE}."):
                del sys.modules[name]
