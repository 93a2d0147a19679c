"""The names of what a model was measured on."""

from enum import StrEnum


class EvaluatedOn(StrEnum):
    """The rows that a model was measured on."""

    VALIDATION = "validation"
    TEST = "test"
    UNSEEN = "test, unseen users"  #: the test rows of users without training rows, and without their texts
    OUTCOME = "outcome"  #: a snapshot's users, once their outcomes are known
