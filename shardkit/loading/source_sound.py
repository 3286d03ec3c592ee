"""SourceSound: sound out of members as others made them, as packing would have stored it."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from shardkit.errors import DataError
from shardkit.format.index import ClipIndex
from shardkit.loading.plan import AudioPlan, Bytes
from shardkit.loading.sound import SecondRun, SoundFiller, Window, wanted_seconds
from shardkit.media.audio import read_audio
from shardkit.media.ffmpeg_log import silence_ffmpeg
from shardkit.media.probe import open_span
from shardkit.media.source import MediaBytes


class SourceSound(SoundFiller):
    """Makes the sound parts of one clip after another. For worker processes: nobody vouches for the bytes.

    The whole member is read and checked. It is decoded up to the end of what is wanted; whole seconds are resampled,
    which gives the same samples as resampling all of it: a second is a whole number of samples at either rate.
    """

    def __init__(self, index: ClipIndex, plan: AudioPlan) -> None:
        super().__init__(index, plan, verify=True)
        silence_ffmpeg()

    def _runs(self, row: int, windows: Sequence[Window]) -> list[SecondRun]:
        offset, size = int(self.index.audio_offset[row]), int(self.index.audio_bytes[row])
        return [SecondRun(seconds, offset, [size]) for seconds in wanted_seconds(windows, rate_hz=self.plan.rate_hz)]

    def pieces(self, row: int, run: SecondRun, block: Bytes) -> Iterator[tuple[Bytes, int, int]]:
        """See SoundFiller."""
        yield block, int(self.index.audio_xxh3[row]), run.offset

    def decoded(self, row: int, run: SecondRun, data: Bytes) -> npt.NDArray[np.int16]:
        """See SoundFiller."""
        member = MediaBytes("sound", data.data)
        rate_hz, start_s = self.plan.rate_hz, float(run.seconds.start)
        wanted = min(int(self.index.audio_samples[row]), run.seconds.stop * rate_hz) - run.seconds.start * rate_hz
        # Not beyond the clip: what cannot be decoded there was no matter when it was indexed.
        end_s = start_s + wanted / rate_hz
        with open_span(member, start_s=start_s, end_s=end_s, only="audio") as span:
            sound = read_audio(member, start_s, end_s, rate_hz=rate_hz, channels=self.plan.channels, held=span.audio)
        if len(sound.pcm) < wanted:
            raise DataError(
                f"the sound from {start_s:.0f} s on has {len(sound.pcm):,} samples, the index says {wanted:,}: other "
                "bytes were indexed"
            )
        return sound.pcm
