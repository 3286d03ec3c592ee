import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.clip import Clip, Reason
from shardkit.errors import StorageError
from shardkit.packing.sources import EXTENSIONS, Located, find_sources
from shardkit.storage.locations import Location

CLIPS = Path(__file__).parents[2] / "../shared/data/clips"


def fill(root: Path, *paths: str) -> Path:
    """The folder, with empty files at these paths."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def found(root: Path, **fields) -> Located:
    """Where the one clip with these fields is found."""
    clip = Clip(row=1, **fields)
    located, rejects = find_sources([clip], Location.of(root))
    assert rejects == []
    assert located[0].clip == clip
    return located[0]


def test_files_that_are_cut_hold_their_clips_whatever_they_are_called(tmp_path):
    """With `are_cut` a file that is named by the id alone is the clip, from its beginning."""
    clips = [Clip(row=1, id="k", start_s=20.0, end_s=30.0), Clip(row=2, id="m", media="n.mp4", start_s=5.0)]
    located, _ = find_sources(clips, Location.of(fill(tmp_path, "k.mp4", "n.mp4")), are_cut=True)
    assert [(each.path, each.start_s, each.end_s) for each in located] == [("k.mp4", 0.0, 10.0), ("n.mp4", 0.0, None)]


def refused(root: Path, **fields):
    """Why the one clip with these fields is not found."""
    located, (reject,) = find_sources([Clip(row=1, **fields)], Location.of(root))
    assert located == []
    return reject


@pytest.mark.parametrize(
    ("fields", "path", "span"),
    [
        ({"id": "k", "media": "a/named.mp4"}, "a/named.mp4", (None, None)),
        ({"id": "k", "media": "./a/../a/named.mp4", "start_s": 3.0}, "a/named.mp4", (3.0, None)),
        ({"id": "k", "media": "named.mp4", "end_s": 3.0}, "a/named.mp4", (None, 3.0)),
        ({"id": "whole", "media": "elsewhere/named.mp4"}, "whole.webm", (None, None)),
        ({"id": "k", "media": "notes.dat"}, "notes.dat", (None, None)),
        ({"id": "-70tewjjQKc", "start_s": 30.0, "end_s": 40.0}, "b/-70tewjjQKc_000030.mp4", (0.0, 10.0)),
        ({"id": "-70tewjjQKc", "start_s": 30.0}, "b/-70tewjjQKc_000030.mp4", (0.0, None)),
        ({"id": "vgg", "start_s": 30.3, "end_s": 40.3}, "vgg_30300_40300.MKV", (0.0, 10.0)),
        ({"id": "whole", "start_s": 30.5, "end_s": 40.5}, "whole.webm", (30.5, 40.5)),
        ({"id": "whole"}, "whole.webm", (None, None)),
        ({"id": "gone", "media": "gone.mp4"}, "gone.mkv", (None, None)),
    ],
)
def test_clip_is_found_as_named_as_cut_or_as_whole_source(tmp_path, fields, path, span):
    """A clip is found by its media file, by the names of cut files or by its id; the span is in file time."""
    root = fill(
        tmp_path,
        *(
            "a/named.mp4",
            "notes.dat",
            "b/-70tewjjQKc_000030.mp4",
            "vgg_30300_40300.MKV",
            "whole.webm",
            "gone.mkv",
        ),
    )
    located = found(root, **fields)
    assert (located.path, (located.start_s, located.end_s)) == (path, span)


def test_media_named_like_a_cut_file_begins_at_the_clips_start(tmp_path):
    """A file that the annotation names and that was cut for the clip starts at 0, as AVO-65's do."""
    root = fill(tmp_path, "a_000030.mp4", "a.mp4")
    cut = found(root, id="a", media="a_000030.mp4", start_s=30.0, end_s=40.0)
    whole = found(root, id="a", media="a.mp4", start_s=30.0, end_s=40.0)
    assert (cut.start_s, cut.end_s) == (0.0, 10.0)
    assert (whole.start_s, whole.end_s) == (30.0, 40.0)


def test_cut_file_of_another_span_is_not_the_source(tmp_path):
    """A file cut at another second of the source does not hold the clip."""
    root = fill(tmp_path, "a_000031.mp4")
    assert refused(root, id="a", start_s=30.0, end_s=40.0).reason is Reason.MISSING_MEDIA


def test_named_file_wins_over_cut_file_and_cut_file_over_whole_source(tmp_path):
    """What the annotation says comes first, then what was cut already."""
    root = fill(tmp_path, "other.mp4", "a_000030.wav", "a.mp4")
    assert found(root, id="a", media="other.mp4", start_s=30.0).path == "other.mp4"
    assert found(root, id="a", media="missing.mp4", start_s=30.0).path == "a_000030.wav"
    assert found(root, id="a", start_s=31.0).path == "a.mp4"


def test_extension_is_preferred_in_the_stated_order(tmp_path):
    """Of several files with a clip's stem the first extension of EXTENSIONS wins."""
    fill(tmp_path, *(f"a.{extension}" for extension in EXTENSIONS))
    for extension in EXTENSIONS:
        assert found(tmp_path, id="a").path == f"a.{extension}"
        (tmp_path / f"a.{extension}").unlink()
    assert refused(tmp_path, id="a").reason is Reason.MISSING_MEDIA


def test_among_equals_the_first_path_wins(tmp_path):
    """Of files in several folders that fit an id the path that sorts first is taken."""
    fill(tmp_path, "z/a.mp4", "b/a.mp4", "y/a.mp4")
    assert found(tmp_path, id="a").path == "b/a.mp4"


def test_bare_name_of_several_files_is_ambiguous(tmp_path):
    """A name without a folder that several files have is rejected naming two; a file of that very path is meant."""
    fill(tmp_path, "z/a.mp4", "b/a.mp4", "y/a.mp4")
    reject = refused(tmp_path, id="a", media="a.mp4")
    assert reject.reason is Reason.MISSING_MEDIA
    assert "ambiguous: b/a.mp4 and y/a.mp4" in reject.detail
    fill(tmp_path, "a.mp4")
    assert found(tmp_path, id="a", media="./a.mp4").path == "a.mp4"


@pytest.mark.parametrize("id", ["x", "0001"])
def test_missing_file_in_a_named_folder_is_not_replaced_by_its_namesake(tmp_path, id):
    """`train/0001.mp4` is not `val/0001.mp4`, neither by its name nor by an id that is its stem."""
    reject = refused(fill(tmp_path, "val/0001.mp4", "0001.mkv"), id=id, media="train/0001.mp4")
    assert (reject.reason, reject.media) == (Reason.MISSING_MEDIA, "train/0001.mp4")


def test_names_that_are_not_utf8_are_skipped(tmp_path):
    """Files and folders whose names are no text are passed over; the others are found."""
    fill(tmp_path, "a.mp4")
    for name in (b"b\xff.mp4", b"\xff/b.mp4"):
        fill(tmp_path, os.fsdecode(name))
    located, rejects = find_sources([Clip(row=1, id="a"), Clip(row=2, id="b")], Location.of(tmp_path))
    assert [entry.path for entry in located] == ["a.mp4"]
    assert [reject.id for reject in rejects] == ["b"]


def test_located_clip_has_the_size_of_its_file(tmp_path):
    """The size is that of the file, through links."""
    (tmp_path / "far").write_bytes(b"1234")
    (tmp_path / "a.mp4").symlink_to("far")
    assert found(tmp_path, id="a").size_bytes == 4


def test_hidden_files_and_folders_are_skipped_and_links_to_files_count(tmp_path):
    """Names that begin with a dot are no media; a link to a file is; a circle of links is no endless walk."""
    root = fill(tmp_path / "root", ".h/a.mp4", ".b.mp4", "d/e.mp4")
    fill(tmp_path, "far.mp4")
    (root / "linked.mp4").symlink_to(tmp_path / "far.mp4")
    (root / "dangling.mp4").symlink_to(tmp_path / "nothing.mp4")
    (root / "circle").symlink_to(root)
    clips = [Clip(row=row, id=id) for row, id in enumerate(["a", ".b", "e", "linked", "dangling"])]
    located, rejects = find_sources(clips, Location.of(root))
    assert [entry.path for entry in located] == ["d/e.mp4", "linked.mp4"]
    assert [reject.id for reject in rejects] == ["a", ".b", "dangling"]


def test_missing_media_says_what_was_looked_for(tmp_path):
    """The reject names every file that would have done, the folder and the remedy."""
    reject = refused(fill(tmp_path, "a.txt"), id="a", media="m.mp4", start_s=30.0, end_s=40.0)
    assert reject.reason is Reason.MISSING_MEDIA
    assert reject.media == "m.mp4"
    for part in ("m.mp4", "a_000030.*", "a_30000_40000.*", "a.*", str(tmp_path), "mkv"):
        assert part in reject.detail


@pytest.mark.parametrize("media", ["/etc/passwd", "../a.mp4", "b/../../a.mp4", ".."])
def test_path_that_leaves_the_folder_is_a_bad_row(tmp_path, media):
    """Absolute paths and paths above the media folder are rejected, even if such a name is inside."""
    reject = refused(fill(tmp_path, "a.mp4", "passwd"), id="a", media=media)
    assert (reject.reason, reject.media) == (Reason.BAD_ROW, media)


def test_missing_media_folder_is_a_storage_error(tmp_path):
    """A media folder that is missing, or is a file, is a StorageError naming it."""
    with pytest.raises(StorageError, match="nowhere: no such media folder"):
        find_sources([], Location.of(tmp_path / "nowhere"))
    fill(tmp_path, "file")
    with pytest.raises(StorageError, match="file: a file, expected the folder"):
        find_sources([], Location.of(tmp_path / "file"))


@pytest.fixture(scope="module")
def shared_root(tmp_path_factory):
    """A media folder that no test changes."""
    return fill(tmp_path_factory.mktemp("media"), "a_000030.mp4", "a.mp4", "x/b.wav", "c_30000_40000.mkv")


@given(ids=st.lists(st.sampled_from(["a", "a_000030", "b", "c", "missing", "../b", "x/b.wav"]), max_size=12))
@settings(deadline=None, max_examples=40)
def test_every_clip_is_located_or_rejected_in_order(shared_root, ids):
    """Located and rejected clips together are the clips given, each list in their order."""
    clips = [
        Clip(row=row, id=id, media=id if "/" in id else None, start_s=30.0, end_s=40.0) for row, id in enumerate(ids)
    ]
    located, rejects = find_sources(clips, Location.of(shared_root))
    lost = [row for row, id in enumerate(ids) if id in ("missing", "../b")]
    assert [reject.row for reject in rejects] == lost
    assert [entry.clip for entry in located] == [clip for clip in clips if clip.row not in lost]


@pytest.mark.skipif(not CLIPS.is_dir(), reason="../shared/data/clips is not there")
def test_real_clips_are_found_by_name_and_by_id():
    """Every real file is found by its name, and those with a media extension by their stem."""
    names = sorted(path.name for path in CLIPS.iterdir())
    named, no_rejects = find_sources([Clip(row=1, id="x", media=name) for name in names], Location.of(CLIPS))
    assert no_rejects == []
    assert [entry.path for entry in named] == names
    by_stem, _ = find_sources([Clip(row=1, id=Path(name).stem) for name in names], Location.of(CLIPS))
    assert [entry.path for entry in by_stem] == names


def test_an_absolute_path_inside_the_media_folder_is_found(tmp_path):
    """Annotation files often hold whole paths; one that leads elsewhere is refused as before."""
    (tmp_path / "media/sub").mkdir(parents=True)
    (tmp_path / "media/sub/a.mp4").write_bytes(b"x")
    clips = [
        Clip(row=1, id="a", media=str(tmp_path / "media/sub/a.mp4")),
        Clip(row=2, id="b", media=str(tmp_path / "elsewhere/a.mp4")),
    ]
    located, rejects = find_sources(clips, Location.of(tmp_path / "media"))
    assert [each.path for each in located] == ["sub/a.mp4"]
    assert [reject.row for reject in rejects] == [2]
