"""The one place where transformers is imported, when a model of it is first built."""

import importlib
import sys
from types import ModuleType

from shardkit.errors import UsageError


def transformers() -> ModuleType:
    """The package transformers, whose models are built with random weights: nothing is downloaded.

    Its models import torchaudio where that is installed, for audio files that are not read here, and fail where
    torchaudio's extension was built for another torch; so it stays hidden from them while they are imported.

    Raises:
        UsageError: transformers is not installed.
    """
    before = sys.modules.get("torchaudio")
    is_known = "torchaudio" in sys.modules
    if before is None:
        sys.modules["torchaudio"] = None  # type: ignore[assignment] - what the import system takes for "not there"
    try:
        package = importlib.import_module("transformers")
        for name in ("ASTModel", "ResNetModel"):
            getattr(package, name)
    except ModuleNotFoundError as exc:
        if exc.name != "transformers":
            raise
        raise UsageError("transformers is not installed: pip install 'shardkit[baselines]'") from exc
    finally:
        if not is_known:
            del sys.modules["torchaudio"]
    return package
