"""The contract of a backbone as a test that an author runs over their own."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import Backbone, Classifier, Examples, FitContext, load_fitted
from segadmin.device_memory import uses_gpu
from segadmin.files import unsafe_files
from segadmin.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segadmin.contracts.backbone import TokenCounts

SEGMENTS = ("low", "middle", "high")
FEATURES = ("spend", "visits")
_WORDS = {
    "en": (("milk", "bread", "apples"), ("coffee", "cheese", "pasta"), ("wine", "steak", "oysters")),
    "zh": (("牛奶", "面包", "苹果"), ("咖啡", "奶酪", "面条"), ("红酒", "牛排", "生蚝")),
}

#: Texts that are empty, of very many phrases, or of one phrase that no model can read to its end.
ODD: tuple[list[str], ...] = (
    [],
    [""],
    [f"bought milk {n}" for n in range(10_000)],
    ["bought milk and bread " * 5_000],
    ["购买牛奶" * 5_000],
)
#: How far probabilities of two fits with one seed may be apart: threads add up in any order.
SAME = 5e-3
#: How far a probability may be off otherwise; a GPU computes in bfloat16, and rows in other company in another order.
CLOSE, CLOSE_ON_GPU = 1e-4, 5e-3


def planted(rows: int, *, seed: int = 0, language: str = "en", features: tuple[str, ...] = FEATURES) -> Examples:
    """Return users whose phrases and features both tell the segment; some features and phrases are missing."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(seed)
    targets = random.integers(0, len(SEGMENTS), rows)
    bought = "bought" if language == "en" else "购买"
    phrases = [
        [f"{bought} {_WORDS[language][target][n]}" for n in random.integers(0, 3, random.integers(1, 5))]
        for target in targets
    ]
    values = np.stack([10.0 ** (targets + 1), targets + random.normal(0, 0.3, rows)], axis=1).astype(np.float32)
    values[random.random(values.shape) < 0.05] = np.nan
    frame = pl.DataFrame(
        {
            "user_key": np.arange(rows) + 1_000 * seed,
            "as_of": [datetime(2025, 1, 1, tzinfo=UTC)] * rows,
            "phrases": phrases,
            "features": values[:, : len(features)].tolist(),
            "target": targets,
        },
        schema_overrides={"features": pl.List(pl.Float32), "phrases": pl.List(pl.String)},
    )
    return Examples(frame, SEGMENTS, features)


def check_backbone(
    backbone: Backbone,
    settings: Settings,
    folder: Path,
    *,
    rows: int = 192,
    language: str = "en",
    atol: float | None = None,
) -> dict[str, Any]:
    """Fit ``backbone`` on planted users and hold it to its contract; return the classifier's report.

    Args:
        backbone: an instance, with options that let it fit in seconds.
        settings: of an empty home.
        folder: an empty folder to write to.
        rows: training users.
        language: of the phrases, ``en`` or ``zh``.
        atol: how far a probability may be off after saving and loading, or in another company of rows; default:
            :data:`CLOSE`, or :data:`CLOSE_ON_GPU` if the fit used a GPU.

    Raises:
        AssertionError: naming what the contract asks.
    """
    import numpy as np

    backbone.check(settings)
    train, validation, test = (planted(n, seed=seed, language=language) for seed, n in enumerate((rows, 48, 60)))
    # One segment is absent from the validation, as a rare one may be.
    validation = _only(validation, validation.targets != 1)
    fractions: list[float] = []
    run = FitContext(settings, folder / "checkpoints", 17, lambda fraction, _note: fractions.append(fraction))
    run.checkpoints.mkdir(parents=True)
    model = backbone.fit(train, validation, run)
    assert fractions, "fit() must call run.progress(fraction, note)"
    assert all(0 <= each <= 1 for each in fractions), f"run.progress() takes fractions from 0 to 1, got {fractions}"
    atol = _tolerance() if atol is None else atol
    probabilities = _checked(model.predict(test), len(test))
    right = float((probabilities.argmax(axis=1) == test.targets).mean())
    assert right > 0.5, f"of users whose text and features tell the segment, only {right:.0%} were put in it"
    _check_rows_apart(model, test, probabilities, atol)
    _check_unusual_users(model, test, probabilities, atol)
    model.save(folder / "saved")
    _check_saved(folder / "saved")
    loaded = load_fitted(backbone, folder / "saved", settings)
    _close(loaded.predict(test), probabilities, atol, "load() must predict what was saved")
    _check_token_counts(backbone.count_tokens(folder / "saved", settings, test.frame["phrases"]), len(test))
    _check_repeats(backbone, run, _only(train, np.arange(rows // 4)), validation, test)
    return model.report


def check_without_features(backbone: Backbone, settings: Settings, folder: Path, *, rows: int = 64) -> None:
    """Fit ``backbone`` where there are no features at all: it must still give every user probabilities.

    Raises:
        AssertionError: naming what the contract asks.
    """
    train, validation, test = (planted(n, seed=n, features=()) for n in (rows, 24, 20))
    folder.mkdir(parents=True, exist_ok=True)
    model = backbone.fit(train, validation, FitContext(settings, folder))
    probabilities = _checked(model.predict(test), len(test))
    model.save(folder / "saved")
    _close(
        load_fitted(backbone, folder / "saved", settings).predict(test),
        probabilities,
        _tolerance(),
        "load() must predict what was saved",
    )


def _tolerance() -> float:
    return CLOSE_ON_GPU if uses_gpu() else CLOSE


def _check_rows_apart(model: Classifier, test: Examples, probabilities: NDArray[np.float32], atol: float) -> None:
    """Check that a prediction depends on nothing but the user's text and features."""
    import numpy as np

    order = np.random.default_rng(3).permutation(len(test))
    again = model.predict(_only(test, order))
    _close(again, probabilities[order], atol, "predict() must not depend on the order of rows")
    unlabelled = dataclasses.replace(test, frame=test.frame.drop("target"))
    _close(model.predict(unlabelled), probabilities, atol, "predict() must not need the target")
    alone = np.concatenate([model.predict(_only(test, np.array([row]))) for row in range(4)])
    _close(alone, probabilities[:4], atol, "predict() must say of a user alone what it says of them among others")


def _check_unusual_users(model: Classifier, test: Examples, probabilities: NDArray[np.float32], atol: float) -> None:
    """Check the predictions of no users, of users without features, and of users with odd texts among others."""
    import numpy as np

    _checked(model.predict(_only(test, np.arange(0))), 0)
    _checked(model.predict(_without_values(test)), len(test))
    odd = _checked(model.predict(_with_odd_texts(test)), len(test))
    _close(
        odd[len(ODD) :], probabilities[len(ODD) :], atol, "an empty or a very long text must not change what others get"
    )


def _check_saved(folder: Path) -> None:
    """Check that there are files, and none that runs code when it is read."""
    assert any(path.is_file() for path in folder.rglob("*")), "save() must write into its folder"
    unsafe = [path.name for path in unsafe_files(folder)]
    assert not unsafe, f"save() wrote {unsafe}; use safetensors, JSON or text, which run no code when they are read"


def _check_token_counts(counts: TokenCounts | None, rows: int) -> None:
    if counts is None:
        return
    for name, values in dataclasses.asdict(counts).items():
        assert values.shape == (rows,), f"count_tokens() must count {name} for each of {rows} users, got {values.shape}"
        assert (values >= 0).all(), f"count_tokens() counts no negative number of {name}"
        assert (values <= counts.tokens).all(), f"count_tokens() must count {name} among the tokens of the user"


def _check_repeats(backbone: Backbone, run: FitContext, train: Examples, validation: Examples, test: Examples) -> None:
    """Fit twice on few users: one seed must give one model, but for the order in which threads add up."""
    probabilities = []
    for name in ("first", "second"):
        again = FitContext(run.settings, run.checkpoints / name, run.seed)
        again.checkpoints.mkdir()
        probabilities.append(backbone.fit(train, validation, again).predict(test))
    _close(probabilities[1], probabilities[0], SAME, "fit() must give the same model again with the same seed")


def _checked(probabilities: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    import numpy as np

    wanted = (rows, len(SEGMENTS))
    assert probabilities.shape == wanted, (
        f"predict() must return (n_rows, n_segments) = {wanted}, got {probabilities.shape}"
    )
    assert probabilities.dtype == np.float32, f"predict() must return float32, got {probabilities.dtype}"
    assert np.isfinite(probabilities).all(), "predict() must return finite numbers, for users without features too"
    assert (probabilities >= 0).all(), "probabilities must not be negative"
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-4), "the rows of predict() must sum to 1"
    return probabilities


def _close(actual: NDArray[np.float32], wanted: NDArray[np.float32], atol: float, rule: str) -> None:
    import numpy as np

    off = float(np.abs(actual - wanted).max())
    assert off <= atol, f"{rule}: probabilities are {off:.2g} off"


def _only(examples: Examples, rows: NDArray[Any]) -> Examples:
    import numpy as np

    chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
    return dataclasses.replace(examples, frame=examples.frame[chosen])


def _with_odd_texts(examples: Examples) -> Examples:
    """Return ``examples``, the first of them with the texts :data:`ODD` in turn."""
    import polars as pl

    texts = [*ODD, *examples.frame["phrases"].to_list()[len(ODD) :]]
    phrases = pl.Series("phrases", texts, dtype=pl.List(pl.String))
    return dataclasses.replace(examples, frame=examples.frame.with_columns(phrases))


def _without_values(examples: Examples) -> Examples:
    import polars as pl

    nothing = pl.col("features").list.eval(pl.element() * float("nan"))
    return dataclasses.replace(examples, frame=examples.frame.with_columns(nothing))
