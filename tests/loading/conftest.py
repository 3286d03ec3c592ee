"""Twelve clips of sixteen frames, packed in any codec: for the tests of what is loaded of a clip. And servers."""

import json
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from far_sets import FarServer
from started_servers import started
from synth_media import LEAVES, Fault, Row, Variety, make_media

import shardkit
from benchmarks.storage.fault_proxy import fault_proxy
from benchmarks.storage.link import Link
from benchmarks.storage.servers import nginx_server, s3_server

RATE_HZ = 16000
CLIP_S, SHORT_S = 4.0, 2.5
EVENTS_S = ((0.25, 1.5), (1.0, 2.25), (2.0, 2.5), (3.5, 4.0))

Pack = Callable[..., Path]


@pytest.fixture(scope="session")
def pack16(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Packs the clips, once for each choice of options: `pack16(video_codec="raw", audio_codec="flac")`.

    Clips are 4 s with 16 frames of 112 by 160 or 160 by 112 (height by width), stereo at 16 kHz; clip 7 is 2.5 s.
    Clip 9 has no sound, clips 10 and 11 no picture.
    """
    root = tmp_path_factory.mktemp("media16")
    rows = [
        Row(number, f"clip{number:02d}.mp4", 0, LEAVES[number % 3], Fault.NO_SOUND if number == 9 else None)
        for number in range(10)
    ]
    variety = Variety(sizes=((160, 112), (112, 160)), frame_rates_hz=(Fraction(10),), channels=(2,), duration_s=CLIP_S)
    make_media(root / "media", rows, variety=variety, workers=2)
    for number in (10, 11):
        _write_noise(root / "media" / f"clip{number}.wav", seed=number)
    table = root / "table.jsonl"
    table.write_text("".join(json.dumps(_row(number)) + "\n" for number in range(12)))
    done: dict[str, Path] = {}

    def pack(**options: str) -> Path:
        name = "-".join(options.values()) or "default"
        if name not in done:
            done[name] = root / name
            shardkit.pack(
                table,
                media=root / "media",
                out=done[name],
                frames=16,
                size=112,
                audio_channels=2,
                require="any",
                shard_bytes=800_000,
                workers=2,
                **options,
            )
        return done[name]

    return pack


def _row(number: int) -> dict:
    end_s = SHORT_S if number == 7 else CLIP_S
    return {
        "id": f"clip{number:02d}",
        "media": f"clip{number:02d}.{'mp4' if number < 10 else 'wav'}",
        "start_s": 0.0,
        "end_s": end_s,
        "label": LEAVES[number % 3].name,
        "events": [
            {"start_s": start_s, "end_s": stop_s, "class": f"event{place}", "modality": "av"}
            for place, (start_s, stop_s) in enumerate(EVENTS_S[: number % 5])
            if stop_s <= end_s
        ],
    }


def _write_noise(path: Path, *, seed: int) -> None:
    pcm = np.random.default_rng(seed).integers(-9000, 9000, (round(CLIP_S * RATE_HZ), 2)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm.tobytes())


@pytest.fixture(scope="session")
def _http_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarServer]:
    root = tmp_path_factory.getbasetemp()
    with started(nginx_server(root)) as server, fault_proxy(server.url) as proxy:
        yield FarServer("http", root, proxy)


@pytest.fixture(scope="session")
def _s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarServer]:
    root = tmp_path_factory.getbasetemp()
    with (
        started(s3_server(root, notice_s=0.0)) as server,
        fault_proxy(server.url, link=Link(mend_206=True)) as proxy,
    ):
        yield FarServer("s3", root, proxy, server.behind(proxy.url).storage_options)


@pytest.fixture
def http_server(_http_server: FarServer) -> FarServer:
    """Nginx serves all of the tests' folders; the proxy before it does no harm until it is told to."""
    _http_server.proxy.set_rules([])
    return _http_server


@pytest.fixture
def object_server(_s3_server: FarServer) -> FarServer:
    """Rclone does, over S3."""
    _s3_server.proxy.set_rules([])
    return _s3_server
