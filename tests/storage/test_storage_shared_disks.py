"""Which paths are on another machine's disk, by what the kernel says is mounted."""

from pathlib import Path

import pytest

from shardkit.storage import shared_disks
from shardkit.storage.shared_disks import is_on_shared_disk

MOUNTS = r"""22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
25 22 0:22 / /dev/shm rw,nosuid,nodev shared:4 - tmpfs tmpfs rw
40 22 0:35 / /home rw,relatime shared:20 - nfs4 filer:/home rw,vers=4.2
41 40 259:3 / /home/me/fast rw,relatime - xfs /dev/nvme1n1 rw
42 22 0:36 / /lustre rw - lustre 10.0.0.1@o2ib:/scratch rw
43 22 0:37 / /mnt/s3 rw,nosuid - fuse.mount-s3 mountpoint-s3 rw
44 22 0:38 / /mnt/blk rw,nosuid - fuseblk /dev/sdb1 rw
45 22 0:39 / /mnt/my\040shards rw shared:9 master:3 - cifs //server/share rw
46 22 0:40 / /mnt/twice rw - nfs4 filer:/twice rw
47 46 259:4 / /mnt/twice rw - ext4 /dev/sdc1 rw
48 22 0:41 / /mnt/back\134slash rw - beegfs beegfs_nodev rw
49 22 0:42 / /mnt/auto rw - autofs systemd-1 rw,fd=52
50 49 0:43 / /mnt/auto rw - ceph 10.0.0.2:/ rw
this line says nothing
"""


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/", False),
        ("/data/shards", False),
        ("/dev/shm/shards", False),
        ("/home", True),
        ("/home/me/shards", True),
        ("/homes/shards", False),
        ("/home/me/fast", False),
        ("/home/me/fast/shards", False),
        ("/lustre/shards", True),
        ("/mnt/s3/shards", True),
        ("/mnt/blk/shards", False),
        ("/mnt/my shards/a", True),
        ("/mnt/twice/shards", False),
        ("/mnt/back\\slash/a", True),
        ("/mnt/auto/shards", True),
    ],
)
def test_the_deepest_and_last_mount_says_what_a_path_is_on(path, shared):
    """Network file systems and FUSE's are shared; blanks in names, mounts within mounts and over others are seen."""
    assert is_on_shared_disk(Path(path), MOUNTS) is shared


def test_a_link_is_where_it_leads(tmp_path):
    """A folder that is reached by a symbolic link is on the disk that it is really on."""
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    mounts = f"{MOUNTS}60 22 0:50 / {tmp_path}/far rw - nfs4 filer:/far rw\n"
    assert is_on_shared_disk(tmp_path / "link" / "shards", mounts)
    assert not is_on_shared_disk(tmp_path / "other", mounts)


def test_what_the_system_says_is_read(tmp_path, monkeypatch):
    """Without a text the kernel's; where there is none, as on other systems, nothing is shared."""
    assert not is_on_shared_disk(Path("/proc"))
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(shared_disks, "MOUNTS", tmp_path / "mounts")
    assert is_on_shared_disk(Path("/lustre/shards"))
    monkeypatch.setattr(shared_disks, "MOUNTS", tmp_path / "none")
    assert not is_on_shared_disk(Path("/lustre/shards"))
