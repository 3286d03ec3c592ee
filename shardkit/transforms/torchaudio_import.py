"""The one place where torchaudio is imported, when it is first needed.

torchaudio ships a native extension that fits one build of torch. Beside another one its import fails, although what is
used here (mel filters, resampling kernels, Kaldi features) is plain PyTorch. That part is then loaded for shardkit
alone: its modules never enter `sys.modules`, so `import torchaudio` elsewhere behaves as if shardkit were not there.
"""

import builtins
import importlib
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from importlib.util import module_from_spec, resolve_name
from types import ModuleType
from typing import Any

import torch

from shardkit.errors import UsageError

_log = logging.getLogger("shardkit")

_NAME = "torchaudio"
_EXTENSION = f"{_NAME}._extension"
_PURE = (f"{_NAME}.functional", f"{_NAME}.transforms", f"{_NAME}.compliance.kaldi")

_lock = threading.Lock()
_loaded: list[ModuleType] = []
"""torchaudio, once it is loaded."""


def torchaudio() -> ModuleType:
    """The package torchaudio, or its pure-PyTorch part: `functional`, `transforms` and `compliance.kaldi`.

    Where only the pure part can be loaded, a warning (logger `shardkit`) says so, once a process.

    Raises:
        UsageError: torchaudio is not installed, or not even its pure part can be loaded.
    """
    with _lock:
        if not _loaded:
            _loaded.append(_imported())
        return _loaded[0]


def _imported() -> ModuleType:
    before = set(sys.modules)
    try:
        package = importlib.import_module(_NAME)
        for name in _PURE:
            importlib.import_module(name)
        return package  # noqa: TRY300 - its failures are caught, not what follows
    except ModuleNotFoundError as exc:
        if exc.name == _NAME:
            raise UsageError("torchaudio is not installed; install it with: pip install 'shardkit[audio]'") from exc
        failure: Exception = exc
    except (ImportError, OSError, RuntimeError) as exc:
        # OSError: a library of another torch build is missing. RuntimeError: torchaudio's own check of versions.
        failure = exc
    # An import that fails takes the package back, but leaves those of its modules that were done.
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == _NAME:
            del sys.modules[name]
    spec = PathFinder.find_spec(_NAME)
    if spec is None or spec.submodule_search_locations is None:
        raise UsageError(f"torchaudio is installed in a way that cannot be read: {failure}") from failure
    try:
        pure = _PurePart(spec).load()
    except Exception as exc:  # noqa: BLE001 - whatever another version's modules do when they are run like this
        raise UsageError(
            f"torchaudio {_version()} does not load beside torch {torch.__version__} ({failure}), and not without its "
            f"native extension either ({exc}); install the torchaudio that was built for this torch"
        ) from failure
    _log.warning(
        "torchaudio %s does not fit torch %s (%s); shardkit uses its pure-PyTorch part, with the same results. "
        "`import torchaudio` needs the torchaudio that was built for this torch",
        _version(),
        torch.__version__,
        str(failure).partition("\n")[0],
    )
    return pure


def _version() -> str:
    try:
        return version(_NAME)
    except PackageNotFoundError:
        return "of unknown version"


class _PurePart:
    """Modules of torchaudio that see each other, and a stub where the extension would be, but not `sys.modules`."""

    def __init__(self, spec: ModuleSpec) -> None:
        package = ModuleType(_NAME)
        package.__path__ = list(spec.submodule_search_locations or ())
        self._modules = {_NAME: package, _EXTENSION: _stub_extension()}
        # A module's own `__import__` is what its import statements call, then and later.
        self._builtins = {**vars(builtins), "__import__": self._import}

    def load(self) -> ModuleType:
        """The package with its pure modules; its `__init__`, which wants the extension, is not run."""
        for name in _PURE:
            self._module(name)
        return self._modules[_NAME]

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """As `builtins.__import__`, with torchaudio's modules from here."""
        full = resolve_name("." * level + name, (globals or {})["__package__"]) if level else name
        if full.partition(".")[0] != _NAME:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = self._module(full)
        if not fromlist:
            return self._modules[_NAME]
        for item in fromlist:
            if hasattr(module, "__path__") and not hasattr(module, item):
                self._module(f"{full}.{item}")
        return module

    def _module(self, name: str) -> ModuleType:
        if name in self._modules:
            return self._modules[name]
        parent_name, _, own = name.rpartition(".")
        parent = self._module(parent_name)
        spec = PathFinder.find_spec(name, parent.__path__)
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = self._modules[name] = module_from_spec(spec)
        vars(module)["__builtins__"] = self._builtins
        spec.loader.exec_module(module)
        setattr(parent, own, module)
        return module


def _stub_extension() -> ModuleType:
    """What torchaudio's modules ask its extension for when there is none."""

    def fail_if_no_align(function: Callable[..., Any]) -> Callable[..., Any]:
        def unavailable(*_args: Any, **_options: Any) -> Any:
            raise RuntimeError(f"{function.__name__} needs torchaudio's native extension")

        return unavailable

    stub = ModuleType(_EXTENSION)
    vars(stub).update(_IS_TORCHAUDIO_EXT_AVAILABLE=False, _IS_ALIGN_AVAILABLE=False, fail_if_no_align=fail_if_no_align)
    return stub
