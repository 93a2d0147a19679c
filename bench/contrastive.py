"""Contrastive representations of event sequences (CoLES, Babaev et al. 2022), for ``bench.few_labels``.

Two random slices of one user's events are positives, slices of other users in the batch negatives. The encoder is a
GRU over embeddings of category and title, price, gap, hour and weekday; its states are averaged.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

_SLICES, _USERS, _SHORTEST, _LONGEST, _READ = 4, 64, 24, 96, 256
_CATEGORIES, _TITLES, _WIDTH, _TEMPERATURE = 250, 1000, 96, 0.1


def representations(
    events: pl.DataFrame, users: list[int], rows: pl.DataFrame, *, until: Any, days: float, seconds: float
) -> NDArray[np.float32]:
    """Return ``(n_rows, 96)``: the mean state over the last events of each row's window.

    Args:
        events: ``user_key``, ``at``, ``price``, ``category``, ``title``.
        users: those to learn from, by their events before ``until``.
        rows: ``user_key``, ``as_of``.
        until: the first test cut-off.
        days: length of the window.
        seconds: how long to learn.
    """
    import numpy as np
    import polars as pl
    import torch

    events = events.sort("user_key", "at")
    at = events["at"].dt.epoch("s").to_numpy()
    bounds = events.with_row_index("n").group_by("user_key").agg(
        first=pl.col("n").min(), last=pl.col("n").max() + 1, known=pl.col("n").min() + (pl.col("at") < until).sum()
    )  # fmt: skip
    spans = {user: (first, last, known) for user, first, last, known in bounds.iter_rows()}
    torch.manual_seed(0)
    encoder, random = _encoder(events), np.random.default_rng(0)
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-3)
    learnt = [spans[user] for user in users if user in spans and spans[user][2] - spans[user][0] >= _SHORTEST]
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        chosen = random.permutation(len(learnt))[:_USERS]
        slices = []
        for first, _, known in (learnt[n] for n in chosen):
            for _ in range(_SLICES):
                length = int(random.integers(_SHORTEST, min(_LONGEST, known - first) + 1))
                begin = int(random.integers(first, known - length + 1))
                slices.append((begin, begin + length))
        states = torch.nn.functional.normalize(encoder(slices), dim=1)
        same = torch.arange(len(slices)) // _SLICES
        itself = torch.eye(len(slices), dtype=torch.bool)
        logits = (states @ states.T / _TEMPERATURE).masked_fill(itself, -1e9)
        positive = (same[:, None] == same[None]) & ~itself
        loss = -torch.log_softmax(logits, dim=1)[positive].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    windows = []
    for user, moment in rows.select("user_key", pl.col("as_of").dt.epoch("s")).iter_rows():
        first, last, _ = spans[user]
        begin, end = first + np.searchsorted(at[first:last], [moment - int(days * 86_400), moment])
        windows.append((max(int(begin), int(end) - _READ), int(end)))
    encoder.eval()
    with torch.inference_mode():
        parts = [encoder(windows[n : n + 256]).numpy() for n in range(0, len(windows), 256)]
    together: NDArray[np.float32] = np.concatenate(parts)
    return together


def _encoder(events: pl.DataFrame) -> Any:
    import polars as pl
    import torch

    def codes(name: str, most: int) -> torch.Tensor:
        common = events[name].drop_nulls().value_counts(sort=True).head(most)[name].to_list()
        return torch.tensor(events[name].replace_strict(common, range(1, len(common) + 1), default=0).to_numpy())

    categories, titles = codes("category", _CATEGORIES), codes("title", _TITLES)
    gap = (pl.col("at") - pl.col("at").shift(1)).over("user_key").dt.total_seconds().fill_null(0) / 86_400
    numbers = torch.tensor(
        events.select(
            price=pl.col("price").clip(0, 50).log1p(),
            gap=gap.log1p(),
            hour=pl.col("at").dt.hour() / 24,
            weekday=pl.col("at").dt.weekday() / 7,
        ).to_numpy()
    ).float()

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.categories = torch.nn.Embedding(_CATEGORIES + 1, 24)
            self.titles = torch.nn.Embedding(_TITLES + 1, 24)
            self.scale = torch.nn.BatchNorm1d(4)
            self.recurrent = torch.nn.GRU(52, _WIDTH, batch_first=True)

        def forward(self, slices: list[tuple[int, int]]) -> torch.Tensor:
            longest = max(1, *(end - begin for begin, end in slices))
            places = torch.full((len(slices), longest), -1)
            for row, (begin, end) in enumerate(slices):
                places[row, : end - begin] = torch.arange(begin, end)
            mask = (places >= 0).float()[..., None]
            places = places.clip(0)
            scaled = self.scale(numbers[places].reshape(-1, 4)).reshape(*places.shape, 4)
            embedded = torch.cat([self.categories(categories[places]), self.titles(titles[places]), scaled], -1)
            states, _ = self.recurrent(embedded * mask)
            return (states * mask).sum(1) / mask.sum(1).clip(1)

    return Encoder()
