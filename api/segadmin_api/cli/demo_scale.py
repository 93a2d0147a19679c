"""The scale of the demo: chosen by the measured training speed, so that the demo takes a few minutes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from segadmin.errors import SegadminError

#: The full demo: training rows, users predicted in validation, test and scoring, households, tokens and epochs.
_TRAINING_ROWS, _USERS_PREDICTED, _HOUSEHOLDS, _TOKENS, _EPOCHS = 5_850, 10_600, 2_469, 64, 2
#: The cost of predicting a user, as a fraction of the cost of training on one.
_PREDICTION_COST = 0.55
#: Seconds that do not depend on the language model: services, import, texts and baselines.
_OTHER_SECONDS = 100.0
#: If the full demo takes longer than this many seconds, a smaller scale is chosen.
GOAL_SECONDS = 9 * 60.0
#: The margin of the gate. On this task trees on the features alone are as good as both together, so an equal model is
#: good enough for a demo, and one that was trained on less data may be slightly worse.
MARGIN, SCALED_MARGIN = -0.005, -0.03


@dataclass(frozen=True)
class Scale:
    """How much of the full demo is run."""

    epochs: int = _EPOCHS
    max_tokens: int = _TOKENS
    households: int | None = None  #: ``None``: all

    def seconds(self, speed: float) -> float:
        """Return the expected seconds of the demo; ``speed``: users per second in training on texts of full length."""
        rows = _TRAINING_ROWS * self.epochs + _USERS_PREDICTED * _PREDICTION_COST
        share = (self.households or _HOUSEHOLDS) / _HOUSEHOLDS
        return _OTHER_SECONDS + rows * share * self.max_tokens / _TOKENS / speed

    @property
    def is_whole(self) -> bool:
        """Whether it is the full demo."""
        return self == WHOLE

    @property
    def options(self) -> dict[str, Any]:
        """The options of the retrain at this scale."""
        if self.is_whole:
            return {"margin": MARGIN}
        text = f"max_tokens={self.max_tokens},epochs={self.epochs}"
        return {"margin": SCALED_MARGIN, "backbone_options": {"text_options": text}}

    def __str__(self) -> str:
        """Describe the scale in a few words."""
        limits = [f"{self.epochs} of {_EPOCHS} epochs", f"{self.max_tokens} of {_TOKENS} tokens of each text"]
        if self.households:
            limits.append(f"{self.households:,} of {_HOUSEHOLDS:,} households")
        return ", ".join(limits)


WHOLE = Scale()
#: In decreasing order; the last one is for all slower machines.
SCALES = (
    WHOLE,
    Scale(epochs=1),
    Scale(epochs=1, max_tokens=32),
    Scale(epochs=1, max_tokens=32, households=1_000),
    Scale(epochs=1, max_tokens=32, households=300),
)


def choose(speed: float) -> Scale:
    """Return the largest scale that takes at most :data:`GOAL_SECONDS` at ``speed`` users per second, else the last."""
    return next((scale for scale in SCALES if scale.seconds(speed) <= GOAL_SECONDS), SCALES[-1])


def explain(scale: Scale, speed: float) -> str:
    """Return one line about the chosen scale and the reason."""
    measured = _measured(speed)
    expected = f"about {_minutes(scale.seconds(speed))}"
    if scale.is_whole:
        return f"{measured}: the demo takes {expected}."
    whole = f"about {_minutes(WHOLE.seconds(speed))}"
    return f"{measured}: all of the demo takes {whole} (segadmin demo --full); {scale} take {expected}."


#: Users of the Chinese demo, in decreasing order; the last one is for all slower machines.
CHINESE_USERS = (2_000, 1_000, 500, 300)
#: Cost of a user of the Chinese demo, all steps together, in users of the measured training.
_CHINESE_COST = 4.5


def chinese_users(speed: float) -> int:
    """Return the largest number of users with which the Chinese demo takes at most :data:`GOAL_SECONDS`."""
    return next((users for users in CHINESE_USERS if _chinese_seconds(users, speed) <= GOAL_SECONDS), CHINESE_USERS[-1])


def explain_chinese(users: int, speed: float) -> str:
    """Return one line about the number of users and the reason."""
    return f"{_measured(speed)}: with {users:,} users the demo takes about {_minutes(_chinese_seconds(users, speed))}."


def _chinese_seconds(users: int, speed: float) -> float:
    return _OTHER_SECONDS + users * _CHINESE_COST / speed


def _measured(speed: float) -> str:
    return f"This machine trains on {speed:.0f} users a second (measured just now)"


def measure() -> float:
    """Return the training speed of this machine in users per second.

    Raises:
        SegadminError: the measurement failed.
    """
    command = [sys.executable, "-P", "-m", "segadmin_plugins.backbones.training_speed"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no output"])[-1]
        raise SegadminError(f"The speed of this machine cannot be measured: {reason}. Run: segadmin demo --full")
    return float(process.stdout.split()[-1])


def _minutes(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} min"
