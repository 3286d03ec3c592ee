"""torchaudio is imported when needed; where its extension does not fit, its pure part is, and nobody else notices."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import shardkit

ROOT = Path(shardkit.__file__).parents[1]
PREAMBLE = """
import logging, sys
said = []
class Listener(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger("shardkit").addHandler(Listener())
import shardkit, torch
from shardkit.transforms.torchaudio_import import torchaudio
def theirs():
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchaudio"}
"""
FAULTS = {
    "another build": 'raise OSError("libc10_cuda.so: cannot open shared object file")',
    "another version": 'raise RuntimeError("PyTorch and TorchAudio were compiled with different CUDA versions")',
    "half an extension": 'raise ImportError("Failed to load libtorchaudio")',
}
FITTING = """
_IS_TORCHAUDIO_EXT_AVAILABLE = False
def fail_if_no_align(function):
    return function
"""


def _copy_with_extension(folder, extension):
    """A torchaudio of the installed one's pure modules, with this text as its extension."""
    spec = importlib.util.find_spec("torchaudio")
    assert spec is not None
    installed = Path(spec.origin).parent
    package = folder / "torchaudio"
    package.mkdir(parents=True)
    for name in ("functional", "transforms", "compliance", "_internal"):
        shutil.copytree(installed / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    # As theirs, without the data sets and models that take long to import.
    (package / "__init__.py").write_text("from . import _extension\nfrom . import compliance, functional, transforms\n")
    (package / "_extension").mkdir()
    (package / "_extension" / "__init__.py").write_text(
        f"from torchaudio._internal.module_utils import no_op\n{extension}\n"
    )
    return folder


def _run(code, *, path=None):
    """Runs code in a fresh interpreter, warnings as errors, with `path` before the installed packages."""
    paths = [str(part) for part in (path, ROOT) if part is not None]
    start = f"import sys; sys.path[:0] = {paths!r}\n"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", start + PREAMBLE + code],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture
def broken(tmp_path):
    """A folder with a torchaudio whose extension was built for another torch."""
    return _copy_with_extension(tmp_path / "site", FAULTS["another build"])


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_pure_part_is_loaded_and_sys_modules_is_as_before(fault, tmp_path):
    """A failing extension: what is pure works, and no module of torchaudio is left behind or lost."""
    _run(
        """
before = dict(sys.modules)
package = torchaudio()
fbank = package.compliance.kaldi.fbank(torch.ones(1, 800))
resampled = package.transforms.Resample(16000, 8000)(torch.ones(1, 800))
assert (fbank.shape, resampled.shape) == ((3, 23), (1, 400))
assert not theirs(), theirs()
assert all(sys.modules.get(name) is module for name, module in before.items())
""",
        path=_copy_with_extension(tmp_path / "site", FAULTS[fault]),
    )


def test_users_own_import_fails_as_without_us(broken):
    """`import torchaudio` after ours raises just what it raises in an interpreter that never saw shardkit."""
    _run(
        """
def attempt():
    try:
        import torchaudio
    except Exception as exc:
        return type(exc), str(exc), sorted(theirs())
without = attempt()
for name in theirs():
    del sys.modules[name]
torchaudio()
assert without[0] in (OSError, RuntimeError, ImportError)
assert attempt() == without
""",
        path=broken,
    )


def test_threads_load_once_and_one_message_names_the_remedy(broken):
    """Many threads at once get the same package, and one warning says what happened and what would help."""
    _run(
        """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    packages = list(pool.map(lambda _: torchaudio(), range(32)))
assert all(package is packages[0] for package in packages)
assert len(said) == 1, said
for words in (torch.__version__, "pure-PyTorch part", "built for this torch"):
    assert words in said[0], said
""",
        path=broken,
    )


def test_modules_survive_pickle_where_torchaudio_cannot_be_imported(broken):
    """Modules that use torchaudio hold nothing of it: they can be pickled and copied."""
    _run(
        """
import copy, pickle
front = shardkit.transforms.frontend("ast", sample_rate_hz=16000)
resample = shardkit.transforms.Resample(44100, 16000)
audio = torch.linspace(-1, 1, 4410).expand(2, 1, -1)
for module in (front, resample):
    expected = module(audio)
    assert torch.equal(pickle.loads(pickle.dumps(module))(audio), expected)
    assert torch.equal(copy.deepcopy(module)(audio), expected)
""",
        path=broken,
    )


def test_fitting_torchaudio_is_imported_as_it_is(tmp_path):
    """Where the import works, it is the package that everybody gets, and nothing is said."""
    _run(
        """
package = torchaudio()
import torchaudio as imported
assert package is imported
assert package is sys.modules["torchaudio"]
assert said == []
""",
        path=_copy_with_extension(tmp_path / "site", FITTING),
    )


def test_without_torchaudio_what_needs_it_says_so_and_the_rest_works():
    """Without torchaudio, what needs mel filters says how to install it; frames, masks and mixing do not need it."""
    _run(
        """
sys.modules["torchaudio"] = None
t = shardkit.transforms
video = torch.zeros(2, 3, 3, 8, 8, dtype=torch.uint8)
t.Normalize()(t.RandomHorizontalFlip()(t.RandomResizedCrop(4)(video)))
t.MixUp()(torch.zeros(2, 1, 100))
t.SpecAugment()(torch.zeros(2, 10, 8))
try:
    shardkit.transforms.frontend("ast", sample_rate_hz=16000)
except shardkit.UsageError as exc:
    assert "pip install 'shardkit[audio]'" in str(exc)
else:
    raise AssertionError("no error")
"""
    )
