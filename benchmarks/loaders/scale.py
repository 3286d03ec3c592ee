"""How large the benchmark is: the full size, and the one that the tests run."""

from dataclasses import dataclass

from benchmarks.loaders.clips import ClipForm


@dataclass(frozen=True, slots=True)
class Scale:
    """Clips and shapes; batches of all contestants have these."""

    clips: int
    form: ClipForm
    side: int
    """Height and width of the frames in a batch, and of those that are stored square."""
    short: int
    """Short side of those that are stored with the clip's aspect."""
    thin: int
    """The same of raw frames that have as many bytes as JPEG ones of `side`."""
    frames: int
    batch_size: int
    shard_bytes: int
    audio_rate_hz: int = 16000

    @property
    def audio_samples(self) -> int:
        """Samples of a clip's sound in a batch."""
        return round(self.form.duration_s * self.audio_rate_hz)


# 16 shards: webdataset and energon want several for every worker.
FULL = Scale(
    clips=2048, form=ClipForm(), side=224, short=256, thin=60, frames=16, batch_size=16, shard_bytes=64_000_000
)
TINY = Scale(
    clips=24,
    form=ClipForm(width=128, height=96, duration_s=1.0, keyframe_s=0.5),
    side=64,
    short=80,
    thin=16,
    frames=16,
    batch_size=4,
    shard_bytes=500_000,
)
