"""FFmpeg's libraries for SPDL, which looks for them under their own names.

They come from PyAV's wheel, where each has a digest in its name. So nothing has to be installed on the system, and SPDL
decodes with the very FFmpeg that the originals are decoded with.
"""

import re
from pathlib import Path

import av

from benchmarks.loaders.cases import Stored
from benchmarks.loaders.prepare import BenchFolder
from benchmarks.loaders.scale import Scale

_FOLDER = "ffmpeg"
_LIBRARY = re.compile(r"(lib(?:av|sw)\w+)-\w+\.so\.(\d+)\.")


def link_libraries(folder: BenchFolder, scale: Scale, stored: Stored) -> Path:
    """A folder of links, made once: every library of the wheel, those of FFmpeg under their plain names too."""
    del scale, stored

    def write(out: Path) -> None:
        for library in (Path(av.__file__).parents[1] / "av.libs").iterdir():
            # They look for each other beside themselves.
            (out / library.name).symlink_to(library)
            if found := _LIBRARY.match(library.name):
                (out / f"{found[1]}.so.{found[2]}").symlink_to(library)

    return folder.make_once(_FOLDER, write)


def environment(folder: BenchFolder) -> dict[str, str]:
    """What the dynamic linker of a process that uses SPDL must be told before it starts."""
    return {"LD_LIBRARY_PATH": str((folder.root / _FOLDER).absolute())}
