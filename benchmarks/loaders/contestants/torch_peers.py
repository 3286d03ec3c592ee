"""PyTorch's DataLoader: over packed members as loose files, and over the source files, decoded every epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import decord
import numpy as np
from torch.utils.data import DataLoader, Dataset

from benchmarks.loaders.cases import Stored
from benchmarks.loaders.contestants.contract import Contestant, Delivered, Work, batches
from benchmarks.loaders.contestants.gathering import PREFETCH_BATCHES, Clip, ClipMaker, collate, delivered
from benchmarks.loaders.decoding import centre, spread
from benchmarks.loaders.prepare import BenchFolder, ClipPlace
from benchmarks.loaders.scale import Scale

NAME = "torch"


@dataclass(frozen=True)
class LooseFiles(Dataset):
    """KEY.mp4 and KEY.wav, side by side in one folder."""

    folder: Path
    places: list[ClipPlace]
    make: ClipMaker

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Clip:
        place = self.places[number]
        video, audio = ((self.folder / f"{place.key}.{kind}").read_bytes() for kind in ("mp4", "wav"))
        return self.make(video, audio, place.label, place.key)


@dataclass(frozen=True)
class Originals(Dataset):
    """The source files: the frames that are packed of them, scaled and cropped, and all of the sound, resampled."""

    paths: list[Path]
    places: list[ClipPlace]
    scale: Scale

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Clip:
        place, path = self.places[number], str(self.paths[number])
        return self._frames(path), self._sound(path), place.label, place.key

    def _frames(self, path: str) -> np.ndarray:
        side, form = self.scale.side, self.scale.form
        # decord scales while it converts to RGB, before anything is copied.
        shrink = side / min(form.width, form.height)
        reader = decord.VideoReader(
            path,
            ctx=decord.cpu(0),
            width=2 * round(form.width * shrink / 2),
            height=2 * round(form.height * shrink / 2),
            num_threads=1,
        )
        return centre(reader.get_batch(spread(len(reader), self.scale.frames)).asnumpy(), side)

    def _sound(self, path: str) -> np.ndarray:
        """Through PyAV, in large blocks: decord's AudioReader takes several times as long."""
        resampler = av.AudioResampler(format="flt", layout="mono", rate=self.scale.audio_rate_hz)
        gathered = av.AudioFifo()
        with av.open(path) as container:
            stream = container.streams.audio[0]
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                frame.pts = None
                gathered.write(frame)
        pieces = [piece.to_ndarray()[0] for piece in resampler.resample(gathered.read())]
        pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
        sound = np.zeros((1, self.scale.audio_samples), dtype=np.float32)
        heard = np.concatenate(pieces)[: self.scale.audio_samples]
        sound[0, : len(heard)] = heard
        return sound


def prepare(folder: BenchFolder, scale: Scale, stored: Stored) -> Path:
    """Writes the members as files."""
    del scale

    def write(out: Path) -> None:
        for place in folder.places(stored):
            for kind, data in zip(("mp4", "wav"), place.read(), strict=True):
                (out / f"{place.key}.{kind}").write_bytes(data)

    return folder.make_copy(NAME, stored, write)


def stream(work: Work) -> Iterator[Delivered]:
    """Over loose files."""
    places = work.folder.places(work.stored)
    yield from _loaded(work, LooseFiles(work.folder.copy(NAME, work.stored), places, ClipMaker.of(work)))


def stream_originals(work: Work) -> Iterator[Delivered]:
    """Over the source files."""
    places = work.folder.places(work.stored)
    # KEY is the id and the start in ms; every clip is the whole of its file.
    paths = [work.folder.media / f"{place.key.rpartition('_')[0]}.mp4" for place in places]
    yield from _loaded(work, Originals(paths, places, work.scale))


def _loaded(work: Work, dataset: Dataset) -> Iterator[Delivered]:
    loader = DataLoader(
        dataset,
        batch_size=work.scale.batch_size,
        shuffle=True,
        num_workers=work.setup.workers,
        collate_fn=collate,
        persistent_workers=True,
        prefetch_factor=PREFETCH_BATCHES,
    )
    yield from delivered(batches(work.epochs, loader))


CONTESTANTS = {
    NAME: Contestant(stream, prepare=prepare),
    "originals": Contestant(stream_originals),
}
