"""AST, the Audio Spectrogram Transformer (Gong, Chung and Glass 2021), through transformers."""

from torch import Tensor, nn

from shardkit.transforms import frontend
from tools.baselines.models.huggingface import transformers


class AST(nn.Module):
    """Sound to AST's tokens: its class and distillation tokens, then one a patch of the spectrogram.

    Args:
        frames: Of the spectrogram, 10 ms each: cut or padded to.
        mean: Of the features, from `shardkit stats --frontend ast`; None: AudioSet's.
        std: Likewise.
        weights: Folder or name that `ASTModel.from_pretrained` takes; None: random weights.
        config: Fields of `ASTConfig`, such as `hidden_size` and `num_hidden_layers`; with `weights` they stay out.

    Attributes:
        dim: D, length of a token.
    """

    def __init__(
        self,
        *,
        frames: int = 1024,
        mean: float | None = None,
        std: float | None = None,
        weights: str | None = None,
        **config: int,
    ) -> None:
        super().__init__()
        package = transformers()
        self.front = frontend("ast", sample_rate_hz=16000, mean=mean, std=std, frames=frames)
        self.model = (
            package.ASTModel(package.ASTConfig(max_length=frames, num_mel_bins=128, **config))
            if weights is None
            else package.ASTModel.from_pretrained(weights, max_length=frames)
        )
        self.dim = self.model.config.hidden_size

    def forward(self, audio: Tensor) -> Tensor:
        """[B, C, S] at 16 kHz to [B, 2 + patches, D]."""
        tokens: Tensor = self.model(self.front(audio)).last_hidden_state
        return tokens
