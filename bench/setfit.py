"""SetFit (Tunstall et al. 2022) for ``bench.few_labels``: MiniLM tuned on pairs of labelled texts, then a regression.

Texts of one segment are to be similar, texts of two segments orthogonal; then the regression reads their embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TOKENS, _PAIRS, _STEPS, _LEARNING_RATE = 64, 16, 60, 2e-5


def setfit(few: Any) -> NDArray[np.float32]:
    """Return the probabilities of the test rows of a ``bench.few_labels.Few``."""
    import numpy as np
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    from segadmin.settings import get_settings
    from segadmin_plugins.backbones.minilm import MiniLm

    folder = MiniLm().folder(get_settings())
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    torch.manual_seed(few.seed)

    def embed(texts: list[str]) -> torch.Tensor:
        batch = tokenizer(texts, truncation=True, max_length=_TOKENS, padding=True, return_tensors="pt")
        mask = batch["attention_mask"][..., None].float()
        states = model(**batch).last_hidden_state
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)

    def read(texts: list[str]) -> NDArray[np.float32]:
        model.eval()
        with torch.inference_mode():
            return np.concatenate([embed(texts[n : n + 64]).numpy() for n in range(0, len(texts), 64)])

    train, test = ([". ".join(phrases) for phrases in rows.frame["phrases"]] for rows in (few.train, few.test))
    targets, random = few.train.targets, np.random.default_rng(few.seed)
    probabilities = np.zeros((len(test), len(few.test.segments)), np.float32)
    if len(np.unique(targets)) < 2:
        return probabilities + 1
    optimizer = torch.optim.AdamW(model.parameters(), _LEARNING_RATE)
    model.train()
    for _ in range(_STEPS):
        left, right = _pairs(targets, random)
        similarity = (embed([train[n] for n in left]) * embed([train[n] for n in right])).sum(dim=1)
        same = torch.tensor(targets[left] == targets[right]).float()
        loss = ((similarity - same) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    regression = LogisticRegression(max_iter=500).fit(read(train), targets)
    probabilities[:, regression.classes_] = regression.predict_proba(read(test))
    return probabilities


def _pairs(targets: NDArray[np.int64], random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of equally many pairs of one segment and of two."""
    import numpy as np

    left = random.integers(0, len(targets), _PAIRS)
    right = [
        random.choice(np.flatnonzero((targets == targets[row]) == (n % 2 == 0))) if n % 2 == 0
        or (targets != targets[row]).any() else row
        for n, row in enumerate(left)
    ]  # fmt: skip
    return left, np.asarray(right)
