"""A small convolutional network over log-mel spectrograms."""

from torch import Tensor, nn

from shardkit.transforms import LogMel


class AudioCNN(nn.Module):
    """Sound to a row of tokens, one for each eight frames of its log-mel spectrogram.

    Frequency is not averaged away: pitch is what tells one tone from another.

    Attributes:
        dim: D, length of a token.
    """

    def __init__(
        self, *, dim: int = 64, channels: int = 16, mels: int = 40, hop_samples: int = 320, sample_rate_hz: int = 16000
    ) -> None:
        super().__init__()
        self.dim = dim
        self.log_mel = LogMel(sample_rate_hz, mels=mels, n_fft=512, hop_samples=hop_samples, low_hz=60.0)
        self.normalise = nn.InstanceNorm2d(1)
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.GroupNorm(4, channels),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.GroupNorm(4, 2 * channels),
            nn.ReLU(),
        )
        self.project = nn.Linear(2 * channels * (-(-mels // 8)), dim)

    def forward(self, audio: Tensor) -> Tensor:
        """[B, C, S] at the sample rate to [B, K, D]."""
        spectrum = self.normalise(self.log_mel(audio).unsqueeze(1))  # [B, 1, frames, mels]
        return self.project(self.layers(spectrum).transpose(1, 2).flatten(2))
