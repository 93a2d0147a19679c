"""Consistency of predictions for unlabelled users (FixMatch, Mean Teacher), for ``bench.few_labels``.

A teacher, the moving average of the student, reads a user's text with few phrases left out; the student reads it with
half of them left out, and is to predict the same. Teacher and student are the product's model of text and features; it
begins as the version that was pretrained on the shop's texts, the features' head as one trained on the labels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TOKENS, _LABELLED, _UNLABELLED, _STEPS, _CHECK = 64, 16, 32, 160, 20
_LEARNING_RATE, _FEATURES_RATE = 3e-4, 1e-4
#: Fractions of the phrases that teacher and student do not read, and the teacher's memory of a step before.
_WEAK, _STRONG, _MEMORY = 0.1, 0.5, 0.98


@dataclass(frozen=True)
class Consistency:
    """How much and which unlabelled users count.

    Mean Teacher (Tarvainen and Valpola 2017) takes the teacher's probabilities of all of them. FixMatch (Sohn et al.
    2020) takes those with a probability of ``threshold`` as labels, with its threshold lowered from .95, which hardly
    a user reaches, and the moving average as teacher. A ``weight`` of 0 is the same training without these users.
    """

    weight: float
    threshold: float = 0.0

    def __call__(self, few: Any, start: Path) -> NDArray[np.float32]:
        """Return the probabilities of the test rows of a ``bench.few_labels.Few``, from the version in ``start``."""
        import numpy as np
        import torch

        if len(np.unique(few.train.targets)) < 2:
            return np.ones((len(few.test), len(few.test.segments)), np.float32)
        torch.manual_seed(few.seed)
        student, read = model_of(few, start)
        labelled, held_out = read(few.train, _WEAK), read(few.validation, 0.0)
        teacher, best, best_loss = copy.deepcopy(student).eval(), copy.deepcopy(student), np.inf
        weak, strong = read(few.unlabelled.users, _WEAK), read(few.unlabelled.users, _STRONG)
        groups = [
            {"params": student.text.parameters(), "lr": _LEARNING_RATE, "weight_decay": 0.01},
            {"params": student.features.parameters(), "lr": _FEATURES_RATE, "weight_decay": 1.0},
        ]
        optimizer = torch.optim.AdamW(groups)
        for step in range(_STEPS + 1):
            if step % _CHECK == 0:
                loss = float(torch.nn.functional.cross_entropy(_all(teacher, held_out), _targets(few.validation)))
                if loss < best_loss:
                    best, best_loss = copy.deepcopy(teacher), loss
            loss = _batch(student.train(), labelled, torch.randint(0, len(labelled), (_LABELLED,)))["loss"]
            if self.weight:
                rows = torch.randint(0, len(weak), (_UNLABELLED,))
                with torch.no_grad():
                    targets = _batch(teacher, weak, rows)["logits"].softmax(dim=1)
                loss = loss + self.weight * min(1, step / 60) * self._apart(student, strong, rows, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for mean, weights in zip(teacher.parameters(), student.parameters(), strict=True):
                    mean.lerp_(weights, 1 - min(_MEMORY, (1 + step) / (10 + step)))
        probabilities: NDArray[np.float32] = _all(best.eval(), read(few.test, 0.0)).softmax(dim=1).numpy()
        return probabilities

    def _apart(self, student: Any, strong: Any, rows: Any, targets: Any) -> Any:
        """Return the cross-entropy between the teacher's answers and the student's, over all unlabelled rows."""
        import torch

        sure, answer = targets.max(dim=1)
        if self.threshold:
            targets = torch.nn.functional.one_hot(answer, targets.shape[1]).float()
        apart = -(targets * _batch(student, strong, rows)["logits"].log_softmax(dim=1)).sum(dim=1)
        return (apart * (sure >= self.threshold)).mean()


def model_of(few: Any, start: Path) -> tuple[Any, Callable[..., Any]]:
    """Return the model that begins as ``start``, and a function that makes rows of examples."""
    from segadmin_plugins.backbones.features.matrix import features_of
    from segadmin_plugins.backbones.features.scaling import Scaling
    from segadmin_plugins.backbones.transformer.batches import PhraseEncoder
    from segadmin_plugins.backbones.transformer.classifier import rows_of
    from segadmin_plugins.backbones.transformer.head import FeatureHead, UserModel
    from segadmin_plugins.backbones.transformer.training import pretrain_head
    from segadmin_plugins.backbones.transformer.warm_start import start_from

    names, run = few.train.feature_names, few.run()
    text, tokenizer = start_from(start, few.train.segments, settings=run.settings)
    encoder = PhraseEncoder(tokenizer, min(_TOKENS, text.config.max_position_embeddings))
    scaling = Scaling.fit(names, features_of(few.unlabelled.users, names))
    model = UserModel(text, FeatureHead(len(names), len(few.train.segments)))

    def read(rows: Any, dropout: float) -> Any:
        targets = rows.targets if "target" in rows.frame.columns else None
        return rows_of(rows, encoder, scaling, targets, dropout=dropout)[0]

    pretrain_head(model, read(few.train, 0.0), read(few.validation, 0.0), run, steps=500)
    return model, read


def _batch(model: Any, rows: Any, numbers: Any) -> Any:
    """Return what the model makes of some rows, in their order."""
    from segadmin_plugins.backbones.transformer.batches import PadCollator

    return model(**PadCollator(model.text.config.pad_token_id)([rows[int(number)] for number in numbers]))


def _all(model: Any, rows: Any) -> Any:
    """Return the logits of all rows."""
    import torch

    with torch.inference_mode():
        return torch.cat([_batch(model, rows, part)["logits"] for part in torch.arange(len(rows)).split(64)])


def _targets(rows: Any) -> Any:
    import torch

    return torch.from_numpy(rows.targets)
