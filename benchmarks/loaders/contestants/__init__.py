"""Who is measured, by name; each family is imported when one of it is asked for, as its package may be missing."""

from importlib import import_module

from benchmarks.loaders.contestants.contract import Contestant

_MODULES = {
    "shardkit": "own_loader",
    "webdataset": "webdataset_peer",
    "litdata": "litdata_peer",
    "energon": "energon_peer",
    "torch": "torch_peers",
    "originals": "torch_peers",
    "spdl": "spdl_peer",
    "spdl-tuned": "spdl_peer",
    "bare": "bare_decoding",
}


def contestant(name: str) -> Contestant:
    """The contestant of a name.

    Raises:
        ImportError: A package that it needs is not installed.
    """
    module = import_module(f"{__name__}.{_MODULES[name]}")
    found: Contestant = module.CONTESTANTS[name]
    return found
