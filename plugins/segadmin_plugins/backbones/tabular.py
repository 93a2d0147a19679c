"""``tabular``: gradient-boosted trees on the features alone, the baseline to beat."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.contracts.backbone import Backbone, Classifier, Examples, FitContext, no_progress
from segadmin.settings import Settings
from segadmin_plugins.backbones.requirements import require, threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Tabular(Backbone):
    """LightGBM with early stopping on the validation log-loss; reads no text."""

    name: ClassVar[str] = "tabular"
    search: ClassVar[Mapping[str, str]] = {
        "leaves": "4..63:log",
        "learning_rate": "0.01..0.2:log",
        "min_users": "5..200:log",
    }

    rounds: int = 400  #: at most; early stopping usually ends sooner
    learning_rate: float = 0.05
    leaves: int = 15
    min_users: int = 20  #: in a leaf
    patience: int = 30  #: rounds without a better validation log-loss

    def check(self, settings: Settings) -> None:
        """Check that LightGBM is installed."""
        require(self.name, ("lightgbm", "sklearn"))

    def fit(self, train: Examples, validation: Examples, run: FitContext) -> TabularClassifier:
        """Boost trees until the validation log-loss stops falling."""
        parameters = self._parameters(len(train.segments), run.seed)
        import lightgbm

        names = train.feature_names
        data = lightgbm.Dataset(_matrix(train, names), train.targets, free_raw_data=False)
        callbacks = [_report_to(run, self.rounds), lightgbm.log_evaluation(0)]
        held_out = []
        if len(validation):
            held_out = [data.create_valid(_matrix(validation, names), validation.targets)]
            callbacks.append(lightgbm.early_stopping(self.patience, verbose=False))
        booster = lightgbm.train(parameters, data, self.rounds, valid_sets=held_out, callbacks=callbacks)
        best = booster.best_iteration or booster.current_iteration()
        report: dict[str, Any] = {"rounds": best, "features": len(names)}
        if len(validation):
            report["validation_log_loss"] = float(booster.best_score["valid_0"]["multi_logloss"])
        return TabularClassifier(booster.model_to_string(num_iteration=best), names, report)

    def load(self, folder: Path, settings: Settings) -> TabularClassifier:
        """Read the trees from ``folder``."""
        stored = json.loads((folder / "tabular.json").read_text())
        model = (folder / "trees.txt").read_text()
        return TabularClassifier(model, tuple(stored["features"]), stored["report"])

    def _parameters(self, n_segments: int, seed: int) -> dict[str, Any]:
        return {
            "objective": "multiclass",
            "num_class": n_segments,
            "metric": "multi_logloss",
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_users,
            "feature_fraction": 0.8,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": 1.0,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": threads(),
            "verbosity": -1,
        }


class TabularClassifier(Classifier):
    """Fitted trees."""

    def __init__(self, model: str, names: tuple[str, ...], report: dict[str, Any]) -> None:
        self._threads = threads()
        import lightgbm

        self._model, self._names, self.report = model, names, report
        self._booster = lightgbm.Booster(model_str=model)

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment."""
        import numpy as np

        if not len(examples):
            return np.empty((0, self._booster.num_model_per_iteration()), np.float32)
        probabilities = self._booster.predict(_matrix(examples, self._names), num_threads=self._threads)
        progress(1.0, f"{len(examples)} users scored")
        return np.asarray(probabilities, np.float32)

    def save(self, folder: Path) -> None:
        """Write the trees as text."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trees.txt").write_text(self._model)
        stored = {"features": self._names, "report": self.report}
        (folder / "tabular.json").write_text(json.dumps(stored, ensure_ascii=False, indent=2))


def _matrix(examples: Examples, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return the features; without any, a constant column, so that the trees learn the base rates."""
    import numpy as np

    from segadmin_plugins.backbones.features.matrix import features_of

    return features_of(examples, names) if names else np.zeros((len(examples), 1), np.float32)


def _report_to(run: FitContext, rounds: int) -> Callable[[Any], None]:
    def report(state: Any) -> None:
        scores = "".join(f", validation log-loss {score[2]:.4f}" for score in state.evaluation_result_list or ())
        done = (state.iteration + 1) / rounds
        for score in state.evaluation_result_list or ():
            run.log(state.iteration + 1, {"validation_log_loss": float(score[2])})
        run.progress(math.floor(done * 100) / 100, f"round {state.iteration + 1} of {rounds}{scores}")

    return report
