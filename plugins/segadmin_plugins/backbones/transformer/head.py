"""The model that is trained: a sequence classifier of Hugging Face, and features added to its logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from segadmin_plugins.engines.packed_text import PackedText
from segadmin_plugins.engines.packing import Packing, Runs
from segadmin_plugins.engines.precision import mixed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FusionHead(nn.Module):
    """What makes logits of the outputs of the text model and the features: their sum, unless a subclass does more."""

    width = 0  #: outputs of the text model beside its logits that the head reads; they come last
    missing = 0.0  #: what a missing feature is to the head: here the mean of the training rows
    deep: nn.Sequential  #: the last layer of the network that reads the features alone is its last

    def __init__(self, n_features: int, n_segments: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_segments)

    def fuse(self, outputs: Tensor, features: Tensor) -> Tensor:
        """Return the logits, ``(n_rows, n_segments)``, of what the text model returns and the features."""
        logits: Tensor = outputs + self(features)
        return logits

    def of_average_user(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits that engines are compared by, ``(n_rows, n_segments)``: those of the text."""
        return outputs

    def fusing(self) -> list[nn.Parameter]:
        """Return the weights that read text and features together."""
        return []

    def narrow(self, segments: int) -> None:
        """Keep only the first ``segments`` logits."""
        self.linear = first_rows(self.linear, segments)
        self.deep[-1] = first_rows(self.deep[-1], segments)  # type: ignore[arg-type]


class FeatureHead(FusionHead):
    """A small network from standardised features to logits, plus a linear path."""

    def __init__(self, n_features: int, n_segments: int, hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__(n_features, n_segments)
        self.deep = nn.Sequential(
            nn.Linear(n_features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, n_segments)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, ``(n_rows, n_segments)``, of features ``(n_rows, n_features)``."""
        logits: Tensor = self.linear(features) + self.deep(features)
        return logits


def first_rows(layer: nn.Linear, rows: int, last: int = 0) -> nn.Linear:
    """Return a layer of the first ``rows`` outputs and the ``last`` ones."""
    kept = [*range(rows), *range(layer.out_features - last, layer.out_features)]
    like = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    narrower = nn.Linear(layer.in_features, len(kept), bias=layer.bias is not None, **like)
    with torch.no_grad():
        narrower.weight.copy_(layer.weight[kept])
        if layer.bias is not None:
            narrower.bias.copy_(layer.bias[kept])
    return narrower


class Loss(nn.Module):
    """Cross-entropy, optionally weighted by segment, smoothed, or focused on rows that are predicted badly.

    With ``gamma`` each row has the weight ``(1 - p)^gamma``, p being the probability of its true segment (focal loss,
    Lin et al. 2017); ``smoothing`` is the fraction of the target spread over all segments (Szegedy et al. 2016).
    """

    def __init__(self, weights: Tensor | None = None, smoothing: float = 0.0, gamma: float = 0.0) -> None:
        super().__init__()
        self.weights: Tensor | None
        self.register_buffer("weights", weights, persistent=False)
        self.smoothing, self.gamma = smoothing, gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the rows of ``logits`` ``(n_rows, n_segments)``."""
        options = {"weight": self.weights, "label_smoothing": self.smoothing}
        if not self.gamma:
            return nn.functional.cross_entropy(logits, labels, **options)  # type: ignore[arg-type]
        each = nn.functional.cross_entropy(logits, labels, reduction="none", **options)  # type: ignore[arg-type]
        true = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
        total = len(labels) if self.weights is None else self.weights[labels].sum()
        return ((1 - true) ** self.gamma * each).sum() / total


class UserModel(nn.Module):
    """Logits of the text and the features, which a head adds up or fuses; with labels, the loss too."""

    def __init__(self, text: Any, features: FusionHead | None, loss: Loss | None = None) -> None:
        super().__init__()
        self.text = text
        self.features = features
        self.loss = loss or Loss()
        self.tasks: tuple[int, ...] = ()  #: segments of each task, if several are learned at once
        self.also_weight = 1.0  #: total weight of all tasks but the first
        self.packed: PackedText | None = None  #: the parts of ``text`` that read packed texts, if it can
        self.frozen_layers = 0  #: the number of layers that ``states`` of a batch went through
        self.loaded: frozenset[int] = frozenset()  #: parameters that came from pretrained files

    def forward(
        self,
        input_ids: Tensor,
        features: Tensor,
        labels: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        runs: Runs = (),
        states: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return ``logits`` ``(n_rows, n_segments)`` and, where labels are given, the weighted ``loss``.

        Args:
            input_ids: of padded texts, ``(n_rows, tokens)``, or of packed ones, ``(tokens,)``.
            features: ``(n_rows, n_features)``.
            labels: ``(n_rows,)`` or, of several tasks, ``(n_rows, n_tasks)``; the logits are those of the first task.
            attention_mask: of padded texts.
            runs: of packed texts.
            states: of packed texts, after the frozen layers.
        """
        with mixed(self.text, input_ids.device.type):
            if runs:
                assert self.packed is not None
                packing = Packing.of_runs(input_ids, runs)
                logits = self.packed.logits(packing, states, self.frozen_layers).float()
            else:
                logits = self.text(input_ids=input_ids, attention_mask=attention_mask).logits.float()
        if self.features is not None:
            logits = self.features.fuse(logits, features)
        own = logits[:, : self.tasks[0]] if self.tasks else logits
        if labels is None:
            return {"logits": own}
        if labels.ndim == 1:
            return {"loss": self.loss(own, labels), "logits": own}
        return {"loss": self._of_all_tasks(logits, labels), "logits": own}

    @property
    def missing(self) -> float:
        """What a missing feature is to the head."""
        return 0.0 if self.features is None else self.features.missing

    def _of_all_tasks(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the first task plus the weighted mean of the others, each over its labelled rows."""
        losses = []
        for n, (task_logits, truth) in enumerate(
            zip(torch.split(logits, list(self.tasks), dim=1), labels.unbind(dim=1), strict=True)
        ):
            labelled = truth >= 0
            if labelled.any():
                loss = self.loss if n == 0 else nn.functional.cross_entropy
                losses.append(
                    (1.0 if n == 0 else self.also_weight / (len(self.tasks) - 1))
                    * loss(task_logits[labelled], truth[labelled])
                )
        return torch.stack(losses).sum()

    def train(self, mode: bool = True) -> UserModel:
        """Switch to training, except frozen modules, where dropout would only add noise."""
        super().train(mode)
        for module in self.text.modules():
            parameters = module.parameters()
            first = next(parameters, None)
            if first is not None and not first.requires_grad and not any(each.requires_grad for each in parameters):
                module.eval()
        return self


def layers_of(text: Any) -> nn.ModuleList:
    """Return the layers of the pretrained part, the lowest first; those of a decoder come after its encoder's."""
    if text.config.is_encoder_decoder:
        halves = (getattr(text.base_model, name, None) for name in ("encoder", "decoder"))
        return nn.ModuleList(layer for half in halves if half is not None for layer in _longest_stack(half))
    return _longest_stack(text.base_model)


def _longest_stack(part: nn.Module) -> nn.ModuleList:
    stacks = [module for module in part.modules() if isinstance(module, nn.ModuleList) and len(module)]
    inner = {id(module) for stack in stacks for module in stack.modules() if module is not stack}
    return max((stack for stack in stacks if id(stack) not in inner), key=len, default=nn.ModuleList())


def freeze_below(text: Any, layers: int) -> int:
    """Freeze the embeddings and the lowest ``layers`` layers; return the number of layers.

    Frozen layers need no backward pass, since nothing below them is trained.
    """
    base, stack = text.base_model, layers_of(text)
    if not layers:
        return len(stack)
    kept = {id(weights) for layer in stack[layers:] for weights in layer.parameters()}
    trainable = False
    for weights in base.parameters():  # in the order that data goes through: all before the first kept layer is frozen
        trainable = trainable or id(weights) in kept
        weights.requires_grad = trainable
    return len(stack)
