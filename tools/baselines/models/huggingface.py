"""The one place where transformers is imported, when a model of it is first built."""

import importlib
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType

from shardkit.errors import UsageError


def transformers() -> ModuleType:
    """The package transformers, with the models that are used here.

    They import torchaudio where it is installed, for audio files, which they are not given here; and fail where its
    native extension was built for another torch. So while they are imported it is an empty module.

    Raises:
        UsageError: transformers is not installed.
    """
    spec = PathFinder.find_spec("torchaudio")
    hides = spec is not None and "torchaudio" not in sys.modules
    if hides and spec is not None:
        sys.modules["torchaudio"] = module_from_spec(spec)
    try:
        package = importlib.import_module("transformers")
        for name in ("ASTModel", "ResNetModel"):
            getattr(package, name)
    except ModuleNotFoundError as exc:
        if exc.name != "transformers":
            raise
        raise UsageError("transformers is not installed: pip install 'shardkit[baselines]'") from exc
    finally:
        if hides:
            del sys.modules["torchaudio"]
    return package
