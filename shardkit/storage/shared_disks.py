"""Shared disks: paths that look local and are another machine's."""

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
SHARED_TYPES = frozenset(
    (
        *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "9p", "afs", "glusterfs", "ocfs2", "gfs2"),
        *("wekafs", "panfs", "virtiofs", "orangefs", "pvfs2", "vboxsf", "prl_fs"),
    )
)
"""File systems that many machines mount, as the kernel calls them; any of FUSE's is taken for one too."""


def is_on_shared_disk(path: Path, mounts: str | None = None) -> bool:
    """Whether a path is on a file system whose bytes come over a network.

    Args:
        path: An absolute path; symbolic links in it are followed.
        mounts: What /proc/self/mountinfo says; None reads it, and where it is missing nothing is taken for shared.
    """
    if mounts is None:
        try:
            mounts = MOUNTS.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
    path = Path(os.path.realpath(path))
    found, found_type = "", ""
    for line in mounts.splitlines():
        # 36 35 98:0 /root /mnt/data rw,noatime shared:1 - nfs4 server:/export rw
        before, separator, behind = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        # Blanks and backslashes are octal numbers.
        mount = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        # The last of several on one place is the one that is seen.
        if (path == Path(mount) or Path(mount) in path.parents) and len(mount) >= len(found):
            found, found_type = mount, behind.split(" ", 1)[0]
    return found_type in SHARED_TYPES or found_type == "fuse" or found_type.startswith("fuse.")
