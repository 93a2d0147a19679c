"""How much of the demo a machine does: what its speed at training, measured first, allows in a few minutes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from segadmin.errors import SegadminError

#: The whole demo: training rows, users read in validations, tests and scoring, households, tokens and epochs.
_TRAINING_ROWS, _USERS_READ, _HOUSEHOLDS, _TOKENS, _EPOCHS = 5_850, 10_600, 2_469, 64, 2
#: Reading a user for a prediction costs so much of training on one.
_READING = 0.55
#: What does not depend on the language model: services, the import, texts and baselines.
_OTHER_SECONDS = 100.0
#: A machine that needs longer for the whole demo does less.
GOAL_SECONDS = 9 * 60.0
#: On this task trees on the features alone are as good as both together: as good is good enough to look at, and a model
#: that learned from less may be a little worse.
MARGIN, SCALED_MARGIN = -0.005, -0.03


@dataclass(frozen=True)
class Scale:
    """How much of the demo is done."""

    epochs: int = _EPOCHS
    max_tokens: int = _TOKENS
    households: int | None = None  #: ``None``: all

    def seconds(self, speed: float) -> float:
        """Return how long the demo takes where ``speed`` users a second are trained on with texts of full length."""
        rows = _TRAINING_ROWS * self.epochs + _USERS_READ * _READING
        share = (self.households or _HOUSEHOLDS) / _HOUSEHOLDS
        return _OTHER_SECONDS + rows * share * self.max_tokens / _TOKENS / speed

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self == WHOLE

    @property
    def options(self) -> dict[str, Any]:
        """The options of the retrain that differ from the whole demo's."""
        if self.is_whole:
            return {"margin": MARGIN}
        text = f"max_tokens={self.max_tokens},epochs={self.epochs}"
        return {"margin": SCALED_MARGIN, "backbone_options": {"text_options": text}}

    def __str__(self) -> str:
        """Say what is done, in a few words."""
        parts = [f"{self.epochs} of {_EPOCHS} epochs", f"{self.max_tokens} of {_TOKENS} tokens of each text"]
        if self.households:
            parts.append(f"{self.households:,} of {_HOUSEHOLDS:,} households")
        return ", ".join(parts)


WHOLE = Scale()
#: From the whole demo down; the last one is for whatever is slower still.
SCALES = (
    WHOLE,
    Scale(epochs=1),
    Scale(epochs=1, max_tokens=32),
    Scale(epochs=1, max_tokens=32, households=1_000),
    Scale(epochs=1, max_tokens=32, households=300),
)


def choose(speed: float) -> Scale:
    """Return the largest scale that takes no longer than :data:`GOAL_SECONDS` at ``speed`` users a second."""
    return next((scale for scale in SCALES if scale.seconds(speed) <= GOAL_SECONDS), SCALES[-1])


def explain(scale: Scale, speed: float) -> str:
    """Return in one line what was chosen and why."""
    measured = f"This machine trains on {speed:.0f} users a second (measured just now)"
    expected = f"about {_minutes(scale.seconds(speed))}"
    if scale.is_whole:
        return f"{measured}: the demo takes {expected}."
    whole = f"about {_minutes(WHOLE.seconds(speed))}"
    return f"{measured}: all of the demo takes {whole} (segadmin demo --full); {scale} take {expected}."


def measure() -> float:
    """Return how many users a second this machine trains on.

    Raises:
        SegadminError: the measurement failed.
    """
    command = [sys.executable, "-P", "-m", "segadmin_plugins.backbones.training_speed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise SegadminError(f"The speed of this machine cannot be measured: {reason}. Run: segadmin demo --full")
    return float(done.stdout.split()[-1])


def _minutes(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} min"
