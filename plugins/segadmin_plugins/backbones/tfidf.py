"""``tfidf``: TF-IDF and logistic regression, the simplest model of the text."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.contracts.backbone import Backbone, Classifier, Examples, FitContext, no_progress
from segadmin.errors import DataError
from segadmin.settings import Settings
from segadmin_plugins.backbones.requirements import require

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

#: A run of Chinese characters, or a word of any other script.
_RUNS = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+|[^\W_\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def terms(phrase: str) -> list[str]:
    """Return the words of a phrase and pairs of neighbours; of Chinese, single characters and pairs."""
    runs = _RUNS.findall(phrase.lower())
    words = [word for run in runs for word in (run if _CHINESE.match(run) else [run])]
    return words + [f"{first} {second}" for first, second in itertools.pairwise(words)]


@dataclass(frozen=True)
class TfIdf(Backbone):
    """TF-IDF of words and word pairs with logistic regression; reads no features."""

    name: ClassVar[str] = "tfidf"

    max_terms: int = 50_000
    min_users: int = 2  #: terms of fewer users are left out
    strengths: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)  #: inverse regularisation; chosen on validation

    def check(self, settings: Settings) -> None:
        """Check that scikit-learn is installed."""
        require(self.name, ("sklearn", "safetensors"))

    def fit(self, train: Examples, validation: Examples, run: FitContext) -> TfIdfClassifier:
        """Weight the terms of ``train`` and fit a regression for each strength; keep the best on ``validation``.

        Raises:
            DataError: no term is common enough, or there are users of one segment only.
        """
        import numpy as np
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.linear_model import LogisticRegression

        from segadmin.evaluation.metrics import log_loss
        from segadmin_plugins.backbones.numbers import rows_of_all_segments

        run.progress(0.0, "counting words")
        vocabulary = self._vocabulary(train)
        tfidf = TfidfTransformer(sublinear_tf=True)
        x = tfidf.fit_transform(counts_of(train.frame["phrases"], vocabulary))
        held_out = validation if len(validation) else train
        best: TfIdfClassifier | None = None
        best_loss = float("inf")
        for n, strength in enumerate(self.strengths):
            model = LogisticRegression(C=strength, max_iter=500, random_state=run.seed).fit(x, train.targets)
            weights, bias = rows_of_all_segments(model, len(train.segments))
            report: dict[str, Any] = {"terms": len(vocabulary), "strength": strength}
            classifier = TfIdfClassifier(vocabulary, np.asarray(tfidf.idf_, np.float32), weights, bias, report)
            loss = log_loss(classifier.predict(held_out), held_out.targets)
            report["validation_log_loss"] = loss
            if loss < best_loss:
                best, best_loss = classifier, loss
            run.progress((n + 1) / len(self.strengths), f"strength {strength}: validation log-loss {loss:.4f}")
        if best is None:
            raise DataError("strengths is empty, so there is no regression to fit. Give at least one, such as 1.0.")
        return best

    def load(self, folder: Path, settings: Settings) -> TfIdfClassifier:
        """Read the vocabulary and the coefficients from ``folder``."""
        from safetensors.numpy import load_file

        stored = json.loads((folder / "tfidf.json").read_text(encoding="utf-8"))
        arrays = load_file(folder / "tfidf.safetensors")
        return TfIdfClassifier(stored["terms"], arrays["idf"], arrays["weights"], arrays["bias"], stored["report"])

    def _vocabulary(self, train: Examples) -> list[str]:
        """Return the commonest terms, each in at least ``min_users`` users' texts, in alphabetical order."""
        import polars as pl

        if train.frame["target"].n_unique() < 2:
            raise DataError("All training users are in one segment. Give labels of at least two segments.")
        users = train.frame.select(pl.int_range(pl.len()).alias("user"), phrase="phrases").explode("phrase")
        phrases = users["phrase"].drop_nulls().unique().sort()
        terms_of_phrases = pl.DataFrame({"phrase": phrases, "term": list(map(terms, phrases))}).explode("term")
        common = (
            users.join(terms_of_phrases, on="phrase")
            .group_by("term")
            .agg(pl.col("user").n_unique())
            .filter(pl.col("user") >= self.min_users, pl.col("term").is_not_null())
            .sort("user", "term", descending=[True, False])
            .head(self.max_terms)
        )
        if common.is_empty():
            raise DataError(
                f"No word is shared by {self.min_users} users. Give more users or lower min_users={self.min_users}."
            )
        return common["term"].sort().to_list()


class TfIdfClassifier(Classifier):
    """A vocabulary, the weights of its terms, and a regression on them."""

    def __init__(
        self,
        vocabulary: list[str],
        idf: NDArray[np.float32],
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
        report: dict[str, Any],
    ) -> None:
        self._vocabulary, self._idf, self._weights, self._bias = vocabulary, idf, weights, bias
        self.report = report

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment."""
        import numpy as np
        from sklearn.preprocessing import normalize

        from segadmin_plugins.backbones.numbers import softmax

        if not len(examples):
            return np.empty((0, len(self._bias)), np.float32)
        x = counts_of(examples.frame["phrases"], self._vocabulary)
        x.data = (np.log(x.data) + 1.0) * self._idf[x.indices]
        logits = np.asarray(normalize(x, copy=False) @ self._weights.T) + self._bias
        progress(1.0, f"{len(examples)} users scored")
        return softmax(logits)

    def save(self, folder: Path) -> None:
        """Write the vocabulary as JSON and the numbers as safetensors."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        stored = {"report": self.report, "terms": self._vocabulary}
        (folder / "tfidf.json").write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")
        arrays = {"idf": self._idf, "weights": self._weights, "bias": self._bias}
        save_file(arrays, folder / "tfidf.safetensors")


def counts_of(phrases: pl.Series, vocabulary: list[str]) -> Any:
    """Return the count of each term in each user's text, a sparse ``(n_users, n_terms)`` matrix.

    Each distinct phrase is split into terms once: (users by phrases) times (phrases by terms).
    """
    import numpy as np
    import polars as pl
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer

    users = pl.DataFrame({"user": np.arange(len(phrases)), "phrase": phrases}).explode("phrase").drop_nulls("phrase")
    distinct = users["phrase"].unique().sort()
    if distinct.is_empty():
        return csr_matrix((len(phrases), len(vocabulary)), dtype=np.float64)
    column = users["phrase"].cast(pl.Enum(distinct)).to_physical().to_numpy()
    ones = np.ones(len(column))
    of_users = csr_matrix((ones, (users["user"].to_numpy(), column)), shape=(len(phrases), len(distinct)))
    of_phrases = CountVectorizer(analyzer=terms, vocabulary=vocabulary).transform(distinct.to_list())
    return (of_users @ of_phrases).astype(np.float64)
