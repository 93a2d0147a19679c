"""The model that is trained: a sequence classifier of Hugging Face, and features added to its logits."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class FeatureHead(nn.Module):
    """A small network from standardised features to logits, plus a linear path that it cannot lose."""

    def __init__(self, n_features: int, n_segments: int, hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_segments)
        self.deep = nn.Sequential(
            nn.Linear(n_features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, n_segments)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, ``(n_rows, n_segments)``, of features ``(n_rows, n_features)``."""
        logits: Tensor = self.linear(features) + self.deep(features)
        return logits


class UserModel(nn.Module):
    """Logits of the text plus logits of the features; with labels, the loss too."""

    def __init__(self, text: Any, features: FeatureHead | None, weights: Tensor | None = None) -> None:
        super().__init__()
        self.text = text
        self.features = features
        self.weights: Tensor | None
        self.register_buffer("weights", weights, persistent=False)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, features: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``logits`` ``(n_rows, n_segments)`` and, where labels are given, the weighted ``loss``."""
        logits = self.text(input_ids=input_ids, attention_mask=attention_mask).logits.float()
        if self.features is not None:
            logits = logits + self.features(features)
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels, weight=self.weights), "logits": logits}

    def train(self, mode: bool = True) -> UserModel:
        """Switch to training, except what is frozen: dropout there would only add noise."""
        super().train(mode)
        for module in self.text.modules():
            parameters = list(module.parameters())
            if parameters and not any(one.requires_grad for one in parameters):
                module.eval()
        return self


def freeze_below(text: Any, layers: int) -> int:
    """Freeze the embeddings and the lowest ``layers`` layers; return how many layers there are.

    Frozen layers cost no backward pass, since nothing below them learns.
    """
    base = text.base_model
    stacks = [module for module in base.modules() if isinstance(module, nn.ModuleList) and len(module)]
    stack = max(stacks, key=len, default=nn.ModuleList())
    if not layers:
        return len(stack)
    kept = {id(one) for layer in stack[layers:] for one in layer.parameters()}
    above = False
    for one in base.parameters():  # in the order that data goes through: all before the first kept layer is frozen
        above = above or id(one) in kept
        one.requires_grad = above
    return len(stack)
