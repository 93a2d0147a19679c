"""The head that fuses text and numbers in one network (``fusion=joint``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from segadmin_plugins.backbones.transformer.head import FusionHead, first_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Bins of each feature.
BINS = 12
#: Numbers that the text model returns beside the logits: a linear projection of the vector that it classifies.
WIDTH = 32
_EMBEDDING = 8
_HIDDEN = 128


class FeatureEmbeddings(nn.Module):
    """An embedding of each feature: of its piecewise-linear encoding (Gorishniy et al. 2022), or of its absence."""

    def __init__(self, edges: Tensor, width: int = _EMBEDDING) -> None:
        """Embed features whose bins have these ``edges``, ``(n_features, n_bins + 1)``."""
        super().__init__()
        n_features, n_bins = edges.shape[0], edges.shape[1] - 1
        self.edges: Tensor
        self.register_buffer("edges", edges)
        self.weight = nn.Parameter(torch.randn(n_features, n_bins, width) * n_bins**-0.5)
        self.bias = nn.Parameter(torch.zeros(n_features, width))
        self.missing = nn.Parameter(torch.zeros(n_features, width))

    def encoded(self, features: Tensor) -> Tensor:
        """Return how much of each bin lies below the feature, ``(n_rows, n_features, n_bins)``, from 0 to 1."""
        low, size = self.edges[:, :-1], self.edges.diff(dim=1)
        filled = (features[:, :, None] - low) / torch.where(size > 0, size, 1.0)
        return torch.where(size > 0, filled.clamp(0, 1), 0.0)

    def forward(self, features: Tensor) -> Tensor:
        """Return the embeddings side by side, ``(n_rows, n_features * width)``; NaN is a feature that is missing."""
        known = torch.isfinite(features)
        encoded = self.encoded(torch.where(known, features, 0.0))
        embedded = torch.einsum("rfb,fbw->rfw", encoded, self.weight) + self.bias
        return torch.relu(torch.where(known[:, :, None], embedded, self.missing)).flatten(1)


class JointHead(FusionHead):
    """Logits of the features, of embedded features, and of text and features together.

    The last is a network over a projection of the text, a projection of the embedded features and their product
    (low-rank bilinear pooling, Kim et al. 2017). Its last layer starts at zero: training begins with the sum of the
    logits.
    """

    width = WIDTH
    missing = float("nan")

    def __init__(self, edges: Tensor, n_segments: int, dropout: float = 0.5) -> None:
        """Fuse features whose bins have these ``edges``, ``(n_features, n_bins + 1)``, with a text."""
        super().__init__(edges.shape[0], n_segments)
        self.embeddings = nn.Sequential(FeatureEmbeddings(edges), nn.Dropout(dropout / 2))
        width = edges.shape[0] * _EMBEDDING
        self.deep = nn.Sequential(
            nn.Linear(width, _HIDDEN), nn.GELU(), nn.Dropout(dropout), nn.Linear(_HIDDEN, n_segments)
        )
        self.text = nn.LayerNorm(WIDTH)
        self.numbers = nn.Linear(width, WIDTH)
        self.joint = nn.Sequential(
            nn.Linear(3 * WIDTH, _HIDDEN), nn.GELU(), nn.Dropout(dropout), nn.Linear(_HIDDEN, n_segments)
        )
        nn.init.zeros_(self.joint[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.joint[-1].bias)  # type: ignore[arg-type]

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> JointHead:
        """Return the head that has this ``state``."""
        head = cls(state["embeddings.0.edges"], len(state["linear.bias"]))
        head.load_state_dict(dict(state))
        return head

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, ``(n_rows, n_segments)``, of features alone, ``(n_rows, n_features)``; NaN is missing."""
        return self._of_features(features, self.embeddings(features))

    def fuse(self, outputs: Tensor, features: Tensor) -> Tensor:
        """Return logits of text and features; the last ``width`` columns of ``outputs`` are the text's projection."""
        embedded = self.embeddings(features)
        text, numbers = self.text(outputs[:, -WIDTH:]), self.numbers(embedded)
        joint: Tensor = self.joint(torch.cat([text, numbers, text * numbers], dim=1))
        return outputs[:, :-WIDTH] + self._of_features(features, embedded) + joint

    def of_average_user(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits that engines are compared by, ``(n_rows, n_segments)``: with average features."""
        with torch.inference_mode():
            average = torch.zeros((len(outputs), self.linear.in_features), device=self.linear.weight.device)
            logits: NDArray[np.float32] = self.fuse(torch.from_numpy(outputs).to(average.device), average).cpu().numpy()
        return logits

    def fusing(self) -> list[nn.Parameter]:
        """Return the weights that read text and features together, and the embeddings."""
        return [
            weights for part in (self.embeddings, self.text, self.numbers, self.joint) for weights in part.parameters()
        ]

    def narrow(self, segments: int) -> None:
        """Keep only the first ``segments`` logits."""
        super().narrow(segments)
        self.joint[-1] = first_rows(self.joint[-1], segments)  # type: ignore[arg-type]

    def _of_features(self, features: Tensor, embedded: Tensor) -> Tensor:
        logits: Tensor = self.linear(torch.nan_to_num(features)) + self.deep(embedded)
        return logits
