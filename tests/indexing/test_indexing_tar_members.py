"""What is read off a tar as its bytes pass, whole or damaged."""

import gzip
import io
import random
import tarfile

import pytest
from tar_files import write_tar

from shardkit.format.digest import file_digest
from shardkit.indexing.tar_members import CHUNK_BYTES, TarMembers

LONG = "folder/" * 30 + "a" * 120


class Trickle(io.BytesIO):
    """A stream that gives less than it is asked for, as a socket does."""

    def read(self, size=-1):
        """At most 333 bytes."""
        return super().read(min(size, 333) if size > 0 else size)


def read(data: bytes, stream=io.BytesIO) -> tuple[list, TarMembers]:
    """The members of a tar, and what is known of it at the end."""
    members = TarMembers(stream(data), wants=lambda name, size: True)
    return list(members), members


@pytest.fixture
def tar(tmp_path) -> bytes:
    """Four members, one of them larger than what is read at a time, one empty."""
    data = [b"x" * 511, bytes(range(256)) * (CHUNK_BYTES // 256 + 1), b"", b"z" * 1024]
    return write_tar(tmp_path / "a.tar", [(f"{place}.bin", each) for place, each in enumerate(data)]).read_bytes()


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("stream", [io.BytesIO, Trickle])
def test_offsets_lead_to_the_data_whatever_the_tars_dialect(tmp_path, format, stream):
    """Every member's bytes stand where the offset says; long names and those that are not ASCII are read as text."""
    names = ["a.mp4", "bé.json", *([] if format == tarfile.USTAR_FORMAT else [f"{LONG}.mp4"]), "c.txt"]
    data = write_tar(tmp_path / "a.tar", [(name, name.encode() * 99) for name in names], format=format).read_bytes()
    members, about = read(data, stream)
    assert [member.name for member in members] == names
    for member in members:
        assert data[member.offset : member.offset + member.size_bytes] == member.data == member.name.encode() * 99
    assert (about.damage, about.size_bytes, about.digest) == (None, len(data), file_digest(data))


def test_members_that_are_not_wanted_pass_without_being_held(tar):
    """Their place and size are known all the same."""
    wanted, _ = read(tar)
    members = list(TarMembers(io.BytesIO(tar), wants=lambda name, size: size < 600))
    assert [member.data is None for member in members] == [False, True, False, True]
    assert [(member.name, member.offset, member.size_bytes) for member in members] == [
        (member.name, member.offset, member.size_bytes) for member in wanted
    ]


def test_names_that_are_not_utf_8_become_text(tmp_path):
    """A byte that is no text is written as its number: names go into an index of text."""
    raw = write_tar(tmp_path / "a.tar", [("caf#.mp4", b"data")]).read_bytes().replace(b"caf#", b"caf\xe9")
    header = bytearray(raw[:512])
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (member,), _ = read(bytes(header) + raw[512:])
    assert member.name == "caf\\xe9.mp4"


def test_what_is_no_file_is_passed_over(tmp_path):
    """Folders and links are no members of samples."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("folder", tarfile.DIRTYPE), ("link.mp4", tarfile.SYMTYPE), ("file.mp4", tarfile.REGTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "elsewhere"
            tar.addfile(info)
    assert [member.name for member in read(path.read_bytes())[0]] == ["file.mp4"]


def test_a_truncated_tar_gives_what_stands_before_the_cut(tar):
    """The members that are whole, and the byte from which on the rest is lost."""
    members, about = read(tar[: 1024 + 5000])
    assert [member.name for member in members] == ["0.bin"]
    assert "from byte 1,024 on" in about.damage
    assert about.size_bytes == 6024


@pytest.mark.parametrize("length", [1, 300])
def test_a_cut_in_a_header_is_noticed(tar, length):
    """Half a header is an end to tarfile, which says nothing."""
    members, about = read(tar[: 1024 + length])
    assert [member.name for member in members] == ["0.bin"]
    assert "from byte 1,024 on" in about.damage


def test_a_damaged_header_is_noticed(tar):
    """So it does with a header whose checksum is wrong: what stands behind it would be lost in silence."""
    damaged = bytearray(tar)
    damaged[1024 + 130] ^= 1
    members, about = read(bytes(damaged))
    assert [member.name for member in members] == ["0.bin"]
    assert "from byte 1,024 on (no tar header where one should be)" in about.damage
    assert about.digest == file_digest(damaged)


def test_an_end_mark_is_not_asked_for(tar):
    """Tars that end with their last member are whole; so are those with any number of zeros behind the end."""
    whole, _ = read(tar)
    end = whole[-1].offset + whole[-1].size_bytes
    for data in (tar[:end], tar + bytes(3 * CHUNK_BYTES)):
        members, about = read(data)
        assert members == whole
        assert (about.damage, about.size_bytes) == (None, len(data))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty file"),
        (b"no tar at all" * 100, "from byte 0 on"),
        (gzip.compress(b"a" * 9999), "(gzip): decompress it"),
    ],
    ids=["empty", "other", "gzip"],
)
def test_what_is_no_tar_has_no_members(data, said):
    """It says why."""
    members, about = read(data)
    assert members == []
    assert said in about.damage


def test_sparse_files_are_refused(tmp_path):
    """Their bytes do not lie side by side."""
    path = tmp_path / "a.tar"
    info = tarfile.TarInfo("a.mp4")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(512) + bytes(1024))
    members, about = read(path.read_bytes())
    assert members == []
    assert "'a.mp4' is a sparse file" in about.damage


def test_headers_of_any_bytes_end_in_members_or_damage(tmp_path):
    """Four hundred tars whose headers, long names and pax records too, were overwritten at random: none is an error."""
    draw = random.Random(7)
    tars = [
        write_tar(tmp_path / "a.tar", [(LONG, b"x" * 700), ("é.mp4", b"y" * 100)], format=format).read_bytes()
        for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    ]
    damages = 0
    for number in range(400):
        data = bytearray(tars[number % 2])
        for _ in range(draw.randint(1, 6)):
            start = draw.randrange(len(data) - 1024)
            data[start : start + 4] = draw.choice([draw.randbytes(4), b"\xff" * 4, b"\x80\0\0\x7f", b"9999"])
        for block in range(0, len(data), 512):
            # Right checksums let what is wrong in the other fields come through.
            header = data[block : block + 512]
            if header[257:262] == b"ustar":
                header[148:156] = b" " * 8
                data[block + 148 : block + 156] = b"%06o\0 " % sum(header)
        members, about = read(bytes(data))
        assert all(member.size_bytes == len(member.data) for member in members)
        damages += about.damage is not None
    assert 50 < damages < 400
