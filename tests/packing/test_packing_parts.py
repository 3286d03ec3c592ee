"""Parts: jobs that share no more than a folder come, with --finish, to the bytes of one run."""

import errno
import fcntl
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack_runs import SMALL, TRIES, contents, interrupted_pack, start_pack, unlike
from watching import wait_until

import shardkit
from shardkit.errors import StorageError, TooManyRejectsError, UsageError
from shardkit.packing.parts import Part, parse_part, part_of_shard
from shardkit.storage.folders import open_folder
from shardkit.storage.locations import Location

PARTS = 3


class Interrupted(Exception):  # noqa: N818 - what a user's progress callback may raise
    """Ends a run from its progress callback."""


@dataclass(frozen=True)
class Place:
    """Where parts are packed to."""

    out: object
    folder: Path
    """The same on disk, to be looked at."""
    options: dict

    def write(self, name: str, data: bytes) -> None:
        """Writes a file there as another would."""
        open_folder(Location.of(self.out, self.options.get("storage_options"))).write(name, data)


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk."""
    return Place(tmp_path / "out", tmp_path / "out", {})


@pytest.fixture(scope="module")
def first_of_three(material, tmp_path_factory):
    """What the first of three parts leaves."""
    out = tmp_path_factory.mktemp("first") / "out"
    pack(material, Place(out, out, {}), part="1/3")
    return out


@pytest.fixture
def begun(first_of_three, disk):
    """A copy of it."""
    shutil.copytree(first_of_three, disk.folder)
    return disk


@pytest.fixture(params=["disk", "s3"])
def place(request, disk):
    """A folder on a disk, or in a bucket."""
    if request.param == "disk":
        return disk
    s3 = request.getfixturevalue("s3")
    name = uuid4().hex
    return Place(f"s3://{name}/data", s3.bucket(name) / "data", {"storage_options": s3.options})


def pack(material, place, **options):
    """Packs the table."""
    return shardkit.pack(
        material.table, media=material.media, out=place.out, **{"workers": 1} | SMALL | place.options | options
    )


def pack_partly(material, place, clips, **options):
    """Packs until some clips are done."""

    def interrupt(progress) -> None:
        if progress.done == clips:
            raise Interrupted

    with pytest.raises(Interrupted):
        pack(material, place, progress=interrupt, **options)


@given(shards=st.integers(0, 500), count=st.integers(1, 40))
def test_parts_share_the_shards_evenly(shards, count):
    """Each shard is in one part, whose number part_of_shard gives; parts differ by one shard at most."""
    parts = [Part(number, count) for number in range(1, count + 1)]
    sizes = [len(part.shards(shards)) for part in parts]
    assert sum(sizes) == shards
    assert max(sizes) - min(sizes) <= 1
    assert all(part_of_shard(shard, count) == part for part in parts for shard in part.shards(shards))


@pytest.mark.parametrize("given", ["3/16", " 3 / 16 ", (3, 16)])
def test_a_part_is_text_or_a_pair(given):
    """Both mean the same."""
    assert parse_part(given) == Part(3, 16)


@pytest.mark.parametrize("given", ["", "3", "0/4", "5/4", "a/b", "-1/4", "1/0", (0, 4), (1, 2, 3), (1.0, 2), [1, 2], 3])
def test_what_is_no_part_is_refused(given):
    """The message shows it and what would do."""
    with pytest.raises(UsageError, match=r"part.*(such as|give one of them)"):
        parse_part(given)


def test_parts_in_any_order_come_to_the_bytes_of_one_run(material, undisturbed, place):
    """Each part reports its own clips, none of them makes a data set; --finish does, and a second time says so."""
    reports = [pack(material, place, part=(number, PARTS), workers=number) for number in (3, 1, 2)]
    assert sum(report.packed for report in reports) == sum(report.rows for report in reports) == 48
    assert sum(report.shards for report in reports) == undisturbed.report.shards
    assert reports[0].part == "3/3"
    assert not (place.folder / "dataset.json").exists()
    report = pack(material, place, finish=True)
    assert (report.packed, report.flags, report.part) == (48, undisturbed.report.flags, None)
    assert not unlike(contents(place.folder), undisturbed.contents)
    assert pack(material, place, finish=True).packed == 48
    assert pack(material, place, part="2/3", resume=True).fresh == 0
    assert not unlike(contents(place.folder), undisturbed.contents)


def test_rejects_of_all_parts_are_those_of_one_run(material, packed, tmp_path):
    """Rows turned away before and while packing: the same rejects.jsonl, also from more parts than there are shards."""
    place = Place(tmp_path, tmp_path, {})
    many = 2 * packed.report.shards

    def pack_avo65(**options):
        return shardkit.pack(material.annotations, media=material.media, out=tmp_path, workers=1, **SMALL, **options)

    reports = [pack_avo65(part=(number, many)) for number in range(1, many + 1)]
    assert [report.rows for report in reports].count(0) == many - packed.report.shards
    with pytest.raises(TooManyRejectsError, match=r"of 17 rows.*rejects\.jsonl names each.*--resume"):
        pack_avo65(finish=True, max_rejects=0.2)
    assert not (tmp_path / "dataset.json").exists()
    pack_avo65(finish=True)
    assert not unlike(contents(place.folder), packed.contents)


def test_parts_run_side_by_side(material, undisturbed, tmp_path):
    """Three at once on one folder: none waits for, disturbs or refuses another."""
    out = tmp_path / "out"
    options = [("--part", f"{number}/{PARTS}", "--workers", "1") for number in range(1, PARTS + 1)]
    processes = [start_pack(material.table, material.media, out, *each) for each in options]
    for process in processes:
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
    pack(material, Place(out, out, {}), finish=True)
    assert not unlike(contents(out), undisturbed.contents)


def test_finish_names_what_is_missing_and_which_part_packs_it(material, undisturbed, place):
    """Nothing changes; with those parts packed it succeeds. A shard that was cut since is missing too."""
    pack(material, place, part="1/3")
    pack(material, place, part="2/3")
    place.write("clips-000001.tar", b"cut")
    before = contents(place.folder)
    with pytest.raises(UsageError, match=r"clips-000001\.tar, clips-000002\.tar.*--part 2/3, --part 3/3"):
        pack(material, place, finish=True)
    assert contents(place.folder) == before
    pack(material, place, part="3/3")
    report = pack(material, place, part="2/3", resume=True)
    assert 0 < report.fresh < report.rows
    pack(material, place, finish=True)
    assert not unlike(contents(place.folder), undisturbed.contents)


def test_finish_with_nothing_packed_leaves_nothing(material, tmp_path):
    """No folder is made where no part was packed."""
    with pytest.raises(UsageError, match=r"nothing is packed here yet.*--part"):
        pack(material, Place(tmp_path / "out", tmp_path / "out", {}), finish=True)
    assert not (tmp_path / "out").exists()


def test_part_that_was_stopped_goes_on_with_resume(material, undisturbed, place):
    """Unasked it is refused and nothing changes; resumed, only its missing shards are packed."""
    pack_partly(material, place, 10, part="1/3")
    before = contents(place.folder)
    with pytest.raises(UsageError, match=r"1 of \d shards of part 1/3 are packed already.*--resume"):
        pack(material, place, part="1/3")
    assert contents(place.folder) == before
    report = pack(material, place, part="1/3", resume=True)
    assert 0 < report.fresh < report.rows
    for number in (2, 3):
        pack(material, place, part=(number, PARTS))
    pack(material, place, finish=True)
    assert not unlike(contents(place.folder), undisturbed.contents)


def test_part_killed_in_the_middle_of_a_shard_and_resumed_comes_to_the_same_bytes(material, undisturbed, tmp_path):
    """Kill -9 while a shard is half-written, beside another part that goes on."""
    out = tmp_path / "out"
    for _ in range(TRIES):
        killed, other = (
            start_pack(material.table, material.media, out, "--part", part, "--workers", "1") for part in ("1/2", "2/2")
        )
        wait_until(
            lambda: (any(out.glob("*.tmp")) and any(out.glob(".packing/*.receipt"))) or killed.poll() is not None  # noqa: B023
        )
        killed.kill()
        killed.communicate()
        _, said = other.communicate(timeout=100)
        assert other.returncode == 0, said
        if killed.returncode:
            break
        shutil.rmtree(out)  # it was done already
    place = Place(out, out, {})
    assert pack(material, place, part="1/2", resume=True).fresh > 0
    pack(material, place, finish=True)
    assert not unlike(contents(out), undisturbed.contents)


def test_run_without_part_goes_on_with_what_parts_have_packed(material, undisturbed, begun):
    """--resume alone packs what is missing of all parts, and finishes."""
    assert 0 < pack(material, begun, resume=True).fresh < 48
    assert not unlike(contents(begun.folder), undisturbed.contents)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"part": "2/4"}, "is being packed in 3 parts"),
        ({"part": "2/3", "size": 48}, "other settings.* in another folder or after removing this one yourself"),
        ({"part": "2/3", "seed": 5}, "other settings"),
        ({"part": "2/3", "split": "50/50"}, "other settings"),
        ({"finish": True, "size": 48}, "other settings"),
        ({"size": 48}, "--resume"),
        ({"part": "2/3", "overwrite": True}, "overwrite would remove"),
        ({"part": "2/3", "finish": True}, "give one of them"),
    ],
    ids=str,
)
def test_part_of_another_plan_is_refused(material, begun, other, words):
    """Half of one data set and half of another never meet; what is there stays."""
    before = contents(begun.folder)
    with pytest.raises(UsageError, match=words):
        pack(material, begun, **other)
    assert unlike(contents(begun.folder), before) <= {".packing/lock-2-of-3", ".packing/lock-2-of-4"}


def test_shard_of_another_plan_does_not_count(material, begun, tmp_path):
    """Where two parts of different plans began at once and storage knows no order, --finish notices."""
    other = Place(tmp_path / "other", tmp_path / "other", {})
    pack_partly(material, other, 10, size=48)
    for name in (".packing/clips-000000.tar.receipt", "clips-000000.tar"):
        shutil.copy(other.folder / name, begun.folder / name)
    with pytest.raises(UsageError, match=r"\(clips-000000\.tar, .*--part 1/3, --part 2/3"):
        pack(material, begun, finish=True)


def test_finished_data_set_is_not_touched_by_a_part(material, undisturbed, tmp_path):
    """Without --resume it is refused, and --overwrite is not offered."""
    out = shutil.copytree(undisturbed.out, tmp_path / "out")
    with pytest.raises(UsageError, match=r"holds a data set already.*remove it yourself"):
        pack(material, Place(out, out, {}), part="1/3")
    assert contents(out) == undisturbed.contents


@pytest.mark.parametrize(
    ("held", "refused", "passes"),
    [
        ("lock-1-of-3", [{"part": "1/3"}], [{"part": "2/3"}]),
        ("lock", [{"part": "1/3"}, {"finish": True}, {"resume": True}], []),
    ],
)
def test_locks_shut_out_the_same_part_and_all_who_want_the_folder_alone(material, begun, held, refused, passes):
    """A part's lock concerns that part; the folder's lock concerns all."""
    before = contents(begun.folder)
    with (begun.folder / ".packing" / held).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for options in refused:
            with pytest.raises(StorageError, match="another"):
                pack(material, begun, **options | {"resume": "finish" not in options})
        assert contents(begun.folder) == before
        for options in passes:
            pack(material, begun, **options)


def test_finish_waits_for_no_part_that_is_at_work(material, undisturbed, tmp_path):
    """While a part runs, --finish, --overwrite and a run without --part are turned away."""
    out = tmp_path / "out"
    place = Place(out, out, {})

    def turned_away(process) -> bool:
        try:
            process.send_signal(signal.SIGSTOP)  # so that it is not done before they are
            is_at_work = process.poll() is None and len([*out.glob(".packing/*.receipt")]) < undisturbed.report.shards
            if is_at_work:
                for options in ({"finish": True}, {"overwrite": True}, {"resume": True}):
                    with pytest.raises(StorageError, match="another"):
                        pack(material, place, **options)
            return is_at_work
        finally:
            process.kill()

    interrupted_pack(
        lambda: start_pack(material.table, material.media, out, "--part", "1/1", "--workers", "1"), out, turned_away
    )


def test_part_that_fails_before_its_first_shard_leaves_the_plan_only(material, disk):
    """It may be that of other parts too, whatever locks say; the same command goes on."""
    pack_partly(material, disk, 1, part="1/3")
    assert set(contents(disk.folder)) == {".packing/plan.json", ".packing/lock", ".packing/lock-1-of-3"}
    assert pack(material, disk, part="1/3").fresh > 0


def test_part_that_fails_leaves_what_parts_write_whose_locks_are_not_seen(material, undisturbed, disk, monkeypatch):
    """On a file system without locks: the half-written shard of another part stays, and becomes whole."""

    def not_known(descriptor, kind):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def fail_beside(progress) -> None:
        if progress.done == 1:
            pack_partly(material, disk, 1, part="2/2")

    monkeypatch.setattr(fcntl, "flock", not_known)
    pack(material, disk, part="1/2", progress=fail_beside)
    pack(material, disk, part="2/2")
    pack(material, disk, finish=True)
    assert not unlike(contents(disk.folder), undisturbed.contents)


def test_part_that_fails_beside_what_others_packed_leaves_that(material, begun):
    """Their shards and the plan stay."""
    before = contents(begun.folder)
    pack_partly(material, begun, 1, part="2/3")
    assert unlike(contents(begun.folder), before) == {".packing/lock-2-of-3"}


def test_too_many_rejects_of_a_part_are_shown(material, tmp_path):
    """The message has counts and the first reasons, since no file names them yet."""
    with pytest.raises(TooManyRejectsError, match=r"of 17 rows.*such as "):
        shardkit.pack(
            material.annotations, media=material.media, out=tmp_path / "out", part="1/2", max_rejects=0.05, **SMALL
        )
    assert set(contents(tmp_path / "out")) == {".packing/lock", ".packing/lock-1-of-2"}


def test_part_of_s3_that_is_killed_leaves_no_half_shard(material, undisturbed, s3):
    """Kill -9 in the middle of uploading; resumed, everything is there once and whole."""
    name = uuid4().hex
    folder = s3.bucket(name)
    place = Place(f"s3://{name}/data", folder / "data", {"storage_options": s3.options})
    process = start_pack(material.table, material.media, place.out, "--part", "1/1", *s3.arguments, "--workers", "1")
    wait_until(lambda: any(folder.glob("data/.packing/*.receipt")))
    time.sleep(0.05)
    process.kill()
    process.communicate()
    whole = {path.name: path.read_bytes() for path in place.folder.glob("*.tar")}
    assert whole.items() <= undisturbed.contents.items()
    pack(material, place, part="1/1", resume=True)
    pack(material, place, finish=True)
    assert not unlike(contents(place.folder), undisturbed.contents)
