"""What is loaded of videos, pictures and sound in tars: the very frames and samples that packing would have stored."""

import io
import json
import subprocess
import sys
from dataclasses import replace

import av
import numpy as np
import pytest
from tar_files import FAST, copies, jpeg, labels, noise, numbers, rejects, wav, write_tar

import shardkit
from shardkit.errors import CorruptShardError, UsageError, WorkerError

RATE_HZ = FAST["audio_rate"]


PICTURES = {"audio_rate": RATE_HZ, "workers": 1}


def index(tars, out, **options):
    """The data set of `shardkit.index` with quick settings."""
    shardkit.index(tars, out=out, **(FAST | options))
    return shardkit.open(out)


def coded(pcm: np.ndarray, *, rate_hz: int, format: str) -> bytes:
    """int16 [S, C] as FLAC, MP3 or the like."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format) as container:
        layout = ("mono", "stereo")[pcm.shape[1] - 1]
        stream = container.add_stream("libmp3lame" if format == "mp3" else format, rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate_hz, 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        for part in fifo.read_many(stream.frame_size or 4096, partial=True):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.fixture(scope="module", params=["short", "square"])
def twins(request, videos, tmp_path_factory):
    """The same videos packed as raw pixels, and indexed; of clips 0 to 8, key to key."""
    root = tmp_path_factory.mktemp("twins")
    for name, data in videos.items():
        (root / f"{name}.mp4").write_bytes(data)
    (root / "rows.csv").write_text("id\n" + "".join(f"{name}\n" for name in videos))
    options = {"fps": 4, "size": 64, "fit": request.param, "audio_rate": 16000, "workers": 2}
    shardkit.pack(root / "rows.csv", media=root, out=root / "packed", video_codec="raw", **options)
    tar = write_tar(root / "a.tar", [(f"{name}.mp4", data) for name, data in videos.items()])
    shardkit.index(tar, out=root / "indexed", **options)
    packed, indexed = shardkit.open(root / "packed"), shardkit.open(root / "indexed")
    places = {key.removesuffix("_0"): place for place, key in enumerate(packed.keys)}
    return packed, indexed, [places[key] for key in indexed.keys]


def test_a_clip_is_what_packing_would_have_stored(twins):
    """Pixel for pixel and sample for sample, with the same times, length and flags."""
    packed, indexed, places = twins
    for place, ours in enumerate(places):
        theirs, mine = indexed[place], packed[ours]
        for field in ("video", "audio", "frame_times_s"):
            np.testing.assert_array_equal(getattr(theirs, field), getattr(mine, field))
        assert (theirs.duration_s, theirs.flags, theirs.audio_rate_hz) == (mine.duration_s, mine.flags, 16000)


@pytest.mark.parametrize(
    "options",
    [
        {"window_s": 0.7, "views": (3, 2), "frames": 2, "size": 48},
        {"window_s": 1.0, "frames": 3, "frame_choice": "contiguous", "size": (60, 40), "crop": "random", "flip": 0.5},
        {"modalities": ("audio",), "window_s": 0.31},
        {"modalities": ("video",), "size": 64},
    ],
    ids=["grid", "drawn", "sound", "picture"],
)
def test_batches_are_those_of_packed_clips(twins, options):
    """Windows, views, crops and flips show the same of both; each only what is asked for."""
    packed, indexed, places = twins
    batches = []
    for ds, order in ((packed, sorted(places)), (indexed, sorted(places))):
        chosen = ds.select(keys=[ds.keys[place] for place in (order if ds is packed else range(len(places)))])
        by_key = {}
        with shardkit.loader(chosen, batch_size=1, shuffle=False, workers=2, **options) as loader:
            for keys, arrays in copies(loader):
                by_key[keys[0].removesuffix("_0")] = arrays
        batches.append(by_key)
    drawn = "flip" in options  # the draws are those of a clip's position, which differs
    for key, arrays in batches[1].items():
        for name in ("video", "audio", "window_s", "frame_times_s", "frame_count", "audio_samples"):
            if name in arrays and not (drawn and name == "video"):
                np.testing.assert_array_equal(arrays[name], batches[0][key][name], err_msg=f"{key} {name}")


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
def test_sound_in_a_member_of_its_own_is_taken(videos, tmp_path, kind):
    """It comes before the video's own sound, and is resampled and mixed as the settings say."""
    pcm = noise(seconds=1.5, rate_hz=44100, channels=2)
    sound = wav(pcm, rate_hz=44100) if kind == "wav" else coded(pcm, rate_hz=44100, format=kind)
    (tmp_path / f"a.{kind}").write_bytes(sound)
    ds = index(write_tar(tmp_path / "a.tar", [("a.mp4", videos["clip0"]), (f"a.{kind}", sound)]), tmp_path / "out")
    (tmp_path / "a.csv").write_text(f"id,media\na,a.{kind}\n")
    shardkit.pack(
        tmp_path / "a.csv", media=tmp_path, out=tmp_path / "p", audio_rate=RATE_HZ, require="audio", workers=1
    )
    expected = shardkit.open(tmp_path / "p")[0].audio
    found = ds[0]
    assert ds.manifest.settings["audio_codec"] == "source"
    np.testing.assert_array_equal(found.audio[:, : expected.shape[1]], expected)
    assert found.video.shape[0] == 4


def test_plain_pcm_is_read_second_by_second(videos, tmp_path):
    """Where all sound is PCM as the settings want it, seconds are read and checked as those of packed clips."""
    pcm = noise(seconds=3.3, rate_hz=RATE_HZ)
    members = [
        ("a.mp4", videos["clip0"]),
        ("a.wav", wav(pcm, rate_hz=RATE_HZ)),
        ("b.wav", wav(pcm[:900], rate_hz=RATE_HZ)),
    ]
    ds = index(write_tar(tmp_path / "a.tar", members), tmp_path / "out", require="audio")
    assert ds.manifest.settings["audio_codec"] == "pcm"
    assert [len(ds.index.second_xxh3.row(row)) for row in range(2)] == [4, 1]
    np.testing.assert_array_equal(np.rint(ds["a"].audio[0] * 32768), pcm[:, 0])
    with shardkit.loader(ds, batch_size=2, modalities=("audio",), window_s=0.5, shuffle=False, workers=1) as loader:
        batch = next(iter(loader))
        start = round(float(batch.window_s[0, 0]) * RATE_HZ)
        np.testing.assert_array_equal(np.rint(batch.audio[0, 0].numpy() * 32768), pcm[start : start + 4000, 0])
        # Two seconds of the one at most, and all of the other.
        assert loader.stats().tally.read_bytes <= (2 * RATE_HZ + 900) * 2


@pytest.mark.parametrize(
    "other",
    [
        {"rate_hz": RATE_HZ, "channels": 2},
        {"rate_hz": 16000, "channels": 1},
    ],
    ids=["stereo", "rate"],
)
def test_one_sound_of_another_kind_makes_all_of_them_sources(tmp_path, other):
    """The codec is the data set's: then whole members are read and decoded, to the same samples."""
    pcm = noise(seconds=1.0, rate_hz=RATE_HZ)
    odd = noise(seconds=1.0, **other)
    members = [("a.wav", wav(pcm, rate_hz=RATE_HZ)), ("b.wav", wav(odd, rate_hz=other["rate_hz"]))]
    ds = index(write_tar(tmp_path / "a.tar", members), tmp_path / "out", require="audio")
    assert ds.manifest.settings["audio_codec"] == "source"
    assert [len(ds.index.second_xxh3.row(row)) for row in range(2)] == [0, 0]
    assert ds.index.audio_data_offset.tolist() == [0, 0]
    np.testing.assert_array_equal(np.rint(ds["a"].audio[0] * 32768), pcm[:, 0])


def test_native_rates_are_each_samples_own(tmp_path):
    """As in packing, they are refused in one batch, and loaded one by one."""
    members = [(f"{rate}.wav", wav(noise(seconds=0.5, rate_hz=rate), rate_hz=rate)) for rate in (8000, 22050)]
    ds = index(write_tar(tmp_path / "a.tar", members), tmp_path / "out", require="audio", audio_rate="native")
    assert [ds[place].audio.shape for place in range(2)] == [(1, 4000), (1, 11025)]
    with pytest.raises(UsageError, match="clips differ in sample rate"):
        shardkit.loader(ds, batch_size=2)


class TestPictures:
    """Samples of JPEG pictures."""

    def test_pictures_are_spread_over_the_sound(self, tmp_path):
        """All of them are frames, in the order of their numbers, decoded by libjpeg-turbo as packed ones are."""
        sound = wav(noise(seconds=2.0, rate_hz=RATE_HZ), rate_hz=RATE_HZ)
        # As sorted by name, 10 before 9, which is not the order of the frames; and the sound in their midst.
        names = sorted(str(place) for place in range(8, 12))
        members = [(f"a.{name}.jpg", jpeg(int(name) - 8)) for name in names]
        members.insert(2, ("a.wav", sound))
        shardkit.index(write_tar(tmp_path / "a.tar", members), out=tmp_path / "out", **PICTURES)
        ds = shardkit.open(tmp_path / "out")
        settings = ds.manifest.settings
        assert (settings["video_codec"], settings["audio_codec"], settings["sampling"]) == ("mjpeg", "pcm", None)
        sample = ds[0]
        assert numbers(sample.video) == [0, 1, 2, 3]
        assert sample.frame_times_s.tolist() == [0.0, 0.5, 1.0, 1.5]
        assert (sample.duration_s, sample.video.shape, sample.audio.shape) == (2.0, (4, 3, 48, 64), (1, 2 * RATE_HZ))

    def test_a_rate_says_when_pictures_are_shown(self, tmp_path):
        """And how long the clip is, where the sound is shorter."""
        members = [(f"a.{place:03d}.jpg", jpeg(place)) for place in range(6)]
        members.append(("a.wav", wav(noise(seconds=0.3, rate_hz=RATE_HZ), rate_hz=RATE_HZ)))
        shardkit.index(write_tar(tmp_path / "a.tar", members), out=tmp_path / "out", image_fps=4.0, **PICTURES)
        ds = shardkit.open(tmp_path / "out")
        sample = ds[0]
        assert sample.frame_times_s.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
        assert (sample.duration_s, sample.audio.shape) == (1.5, (1, 2400))
        assert ds.manifest.settings["image_fps"] == 4.0

    def test_a_picture_without_sound_is_shown_for_a_second(self, tmp_path):
        """Each of them."""
        members = [("a.jpg", jpeg(1)), ("b.0.jpg", jpeg(2)), ("b.1.jpg", jpeg(3))]
        tar = write_tar(tmp_path / "a.tar", members)
        shardkit.index(tar, out=tmp_path / "out", require="video", **PICTURES)
        ds = shardkit.open(tmp_path / "out")
        one, two = ds[0], ds[1]
        assert [(each.duration_s, numbers(each.video)) for each in (one, two)] == [(1.0, [1]), (2.0, [2, 3])]
        assert two.frame_times_s.tolist() == [0.0, 1.0]

    def test_only_the_pictures_of_a_window_are_read(self, tmp_path):
        """Those that begin to be shown in it; each is checked before it is decoded."""
        members = [(f"a.{place}.jpg", jpeg(place)) for place in range(8)]
        tar = write_tar(tmp_path / "a.tar", members)
        shardkit.index(tar, out=tmp_path / "out", require="video", image_fps=2.0, **PICTURES)
        options = {"batch_size": 1, "workers": 1, "window_s": 1.5, "views": (2, 1), "modalities": ("video",)}
        with shardkit.loader(tmp_path / "out", **options) as loader:
            batch = next(iter(loader))
            assert batch.window_s[0].tolist() == [[0.0, 1.5], [2.5, 4.0]]
            assert [numbers(view.numpy()) for view in batch.video[0]] == [[0, 1, 2], [5, 6, 7]]
            assert loader.stats().tally.read_bytes == sum(len(jpeg(place)) for place in (0, 1, 2, 5, 6, 7))
        data = bytearray(tar.read_bytes())
        data[data.index(jpeg(6)) + 100] ^= 1
        tar.write_bytes(data)
        with (
            shardkit.loader(tmp_path / "out", **options) as loader,
            pytest.raises(CorruptShardError, match="'a', video"),
        ):
            next(iter(loader))

    def test_pictures_that_cannot_be_frames_are_rejected(self, tmp_path):
        """Of two sizes, or no JPEG; a video among pictures; no sound where it is required."""
        tar = write_tar(
            tmp_path / "a.tar",
            [
                ("good.jpg", jpeg(1)),
                ("good.wav", wav(noise(seconds=1, rate_hz=8000), rate_hz=8000)),
                ("sizes.0.jpg", jpeg(1)),
                ("sizes.1.jpg", jpeg(1, width=80)),
                ("sizes.wav", wav(noise(seconds=1, rate_hz=8000), rate_hz=8000)),
                ("cut.jpg", jpeg(1)[:100]),
                ("cut.wav", wav(noise(seconds=1, rate_hz=8000), rate_hz=8000)),
                ("video.mp4", b"any"),
                ("silent.jpg", jpeg(1)),
                ("sound.wav", wav(noise(seconds=1, rate_hz=8000), rate_hz=8000)),
            ],
        )
        shardkit.index(tar, out=tmp_path / "out", **PICTURES)
        assert [(each["id"], each["reason"]) for each in rejects(tmp_path / "out")] == [
            ("sizes", "decode_error"),
            ("cut", "decode_error"),
            ("video", "other_kind"),
            ("silent", "no_audio"),
            ("sound", "no_video"),
        ]

    def test_a_preview_beside_a_video_is_none_of_the_frames(self, videos, tmp_path):
        """Where the first sample has pictures only, samples with both are neither pictures nor silent."""
        film = ("film.mp4", videos["clip0"])
        members = [("a.jpg", jpeg(1)), film, ("film.jpg", jpeg(2))]
        shardkit.index(write_tar(tmp_path / "a.tar", members), out=tmp_path / "out", require="video", **PICTURES)
        assert shardkit.open(tmp_path / "out").keys == ["a"]
        (found,) = rejects(tmp_path / "out")
        assert (found["id"], found["reason"]) == ("film", "other_kind")
        assert "holds a video, and the first sample of all pictures" in found["detail"]
        ds = index(write_tar(tmp_path / "b.tar", members[1:]), tmp_path / "videos")
        assert ds["film"].video.shape[0] == FAST["frames"]

    def test_options_for_videos_are_refused(self, tmp_path):
        """Pictures are taken as they are."""
        tar = write_tar(tmp_path / "a.tar", [("a.jpg", jpeg(1))])
        with pytest.raises(UsageError, match=r"size=64 is for videos.*loader\(frames=\)"):
            shardkit.index(tar, size=64, require="video")
        with pytest.raises(UsageError, match="frame sampling by fps 2 is for videos"):
            shardkit.index(tar, fps=2, require="video")


class TestNobodyVouches:
    """Bytes of unknown origin are decoded in worker processes only."""

    def test_threads_are_refused(self, indexed):
        """With the reason and what to do instead."""
        with pytest.raises(UsageError, match=r"were indexed, not packed.*worker_type='process'"):
            shardkit.loader(indexed, batch_size=2, worker_type="thread")

    def test_decord_is_refused(self, indexed):
        """It is for packed frames, and a damaged file can end the process."""
        with pytest.raises(UsageError, match="decoder='decord' is for packed frames"):
            shardkit.loader(indexed, batch_size=2, decoder="decord")

    def test_random_access_decodes_in_a_process_of_its_own(self, indexed):
        """No decoder is loaded into this one, and none runs on."""
        code = (
            f"import shardkit, sys; sample = shardkit.open({str(indexed)!r})[3]\n"
            "print(sample.video.shape, sample.audio.shape, {'av', 'torch', 'decord'} & set(sys.modules))\n"
        )
        said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert said.stdout.split("(")[1].startswith("4, 3, ")
        assert said.stdout.endswith("set()\n")
        assert said.stderr == ""

    def test_a_clip_whose_bytes_have_changed_is_an_error(self, tars, tmp_path):
        """A flipped byte behind the index's back: named by tar and clip, in a loader and one by one."""
        tar = tmp_path / "a.tar"
        data = bytearray((tars / "set-000.tar").read_bytes())
        tar.write_bytes(data)
        ds = index(tar, tmp_path / "out")
        row = ds.keys.index("clip1")
        data[int(ds.index.video_offset[row]) + 2000] ^= 4
        tar.write_bytes(data)
        with pytest.raises(CorruptShardError, match=r"a\.tar, clip 'clip1'.*index again"):
            ds["clip1"]
        assert ds["clip2"].video is not None
        with shardkit.loader(ds, batch_size=3, on_error="skip", size=64, crop="center", workers=1) as loader:
            assert sum(int(batch.weight.sum()) for batch in loader) == 2
            assert loader.skipped == 1

    def test_a_clip_that_is_another_ones_is_told_from_its_index(self, videos, tmp_path):
        """Without digests: other frames than were indexed are an error, not frames."""
        tar = write_tar(tmp_path / "a.tar", [("a.mp4", videos["clip0"])])
        ds = index(tar, tmp_path / "out", require="video")
        other = bytes(len(videos["clip0"]))
        data = tar.read_bytes().replace(videos["clip0"], other)
        tar.write_bytes(data)
        with (
            shardkit.loader(ds, batch_size=1, verify=False, workers=1) as loader,
            pytest.raises(shardkit.DataError, match=r"clip 'a': .*cannot be opened as media.*index its tar again"),
        ):
            next(iter(loader))

    def test_a_worker_that_dies_costs_its_clip(self, indexed, monkeypatch):
        """Random access says that it died, and how."""
        import shardkit.loading.crew

        start = shardkit.loading.crew.start_module

        def start_and_kill(*arguments, **options):
            process = start(*arguments, **options)
            process.kill()
            return process

        monkeypatch.setattr(shardkit.loading.crew, "start_module", start_and_kill)
        with pytest.raises(WorkerError, match="SIGKILL"):
            shardkit.open(indexed)[0]


def test_a_relabelled_index_has_new_labels(tars, tmp_path):
    """`shardkit relabel` finds samples by their key, and leaves the rest as it is."""
    out = tmp_path / "out"
    before = index(tars, out)
    frames = before[5].video
    rows = [{"id": f"clip{place}", "label": "odd" if place % 2 else "even", "split": "val"} for place in range(8)]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = shardkit.relabel(out, tmp_path / "new.jsonl")
    assert (report.relabelled, report.unnamed, report.unused, report.packed) == (8, 1, 0, False)
    after = shardkit.open(out)
    assert labels(after, "label") == [[0], [1]] * 4 + [[-100]]
    np.testing.assert_array_equal(after[5].video, frames)
    assert (after.manifest.base, after.manifest.packed) == (before.manifest.base, False)


def assert_same(found, expected):
    """Batches with the same clips, arrays and all."""
    assert [keys for keys, _ in found] == [keys for keys, _ in expected]
    for (_, arrays), (_, others) in zip(found, expected, strict=True):
        np.testing.assert_equal(arrays, others)


def test_what_is_loaded_is_the_same_on_any_number_of_workers(indexed):
    """Batches of one worker and of three; resumed in the middle of an epoch."""
    options = {"batch_size": 2, "size": 64, "seed": 3, "window_s": 0.8, "crop": "random"}
    with shardkit.loader(indexed, workers=1, **options) as loader:
        expected = copies(loader)
    with shardkit.loader(indexed, workers=3, **options) as loader:
        iterator = iter(loader)
        next(iterator), next(iterator)
        state = loader.state_dict()
        loader.set_epoch(0)
        assert_same(copies(loader), expected)
    with shardkit.loader(indexed, workers=2, **options) as loader:
        loader.load_state_dict(state)
        assert_same(copies(loader), expected[2:])


def test_an_index_of_another_data_set_is_no_frames(indexed, videos, tmp_path):
    """Sizes that differ from the index's are an error that says so."""
    ds = shardkit.open(indexed)
    ds.manifest = replace(ds.manifest, settings=ds.manifest.settings | {"size": 48})
    with (
        shardkit.loader(ds, batch_size=1, size=48, workers=1) as loader,
        pytest.raises(shardkit.DataError, match=r"frames are \d+x\d+, the index says"),
    ):
        next(iter(loader))
