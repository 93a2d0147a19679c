"""What the ``prepare`` stage of every kind of job finds out, for the stages after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from segadmin.jobs.attempt import Json, StageOutput, StepFile
from segadmin.models.canary import CanaryShare
from segadmin.storage.records import SegmentSnapshot
from segadmin.text.plan import TextPlan
from segadmin.text.recipe import Recipe, Window


class RefreshPlan(BaseModel):
    """How the users of a job relate to those of the current snapshot."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    snapshot_id: int  #: the current snapshot
    everyone: bool  #: all users are scored; otherwise the others are carried forward
    silent: bool  #: users without new events are read too
    items_changed: bool  #: items may have other attributes than they had for that snapshot
    margins: tuple[float, ...] | None = None  #: of hysteresis, by segment; ``None``: it is not used

    @classmethod
    def of(
        cls,
        snapshot: SegmentSnapshot,
        lake_versions: Mapping[str, int],
        *,
        everyone: bool,
        silent: bool,
        margins: tuple[float, ...] | None = None,
    ) -> RefreshPlan:
        """Return the plan of a job that reads these versions of the lake's tables."""
        assert snapshot.id is not None
        tables = ("items", "item_vectors")
        changed = any(lake_versions.get(table) != snapshot.lake_versions.get(table) for table in tables)
        return cls(snapshot_id=snapshot.id, everyone=everyone, silent=silent, items_changed=changed, margins=margins)


class Prepared(StageOutput):
    """Whom to read, and how: what ``textualize`` needs of any kind of job."""

    stage: ClassVar[str] = "prepare"

    text: TextPlan
    wanted: tuple[StepFile, ...] = ()  #: ``user_key``, ``observed_from``, ``as_of``: whom to read at training windows
    unlabelled: StepFile | None = None  #: ``user_key``, ``as_of``, ``observed_from``: whose outcomes are read
    copied: StepFile | None = None  #: the split, where its training rows get augmented copies
    refresh: RefreshPlan | None = None  #: whom to read at the scoring window; default: everyone
    canary: CanaryShare | None = None  #: the users whom the challenger scores, in a job that trains no model

    @property
    def recipe(self) -> Recipe:
        """How events become text and features."""
        return self.text.recipe

    @classmethod
    def upgraded(cls, written: Json) -> Json:
        """Return what was written before there were versions: one flat object for all kinds of jobs."""
        tasks: dict[str, Any] = written.get("also") or {}
        split = written.get("rows")
        text = {
            "recipe": written["recipe"],
            "training": written.get("training", ()),
            "scoring": written.get("scoring"),
            "copies": written.get("augment", 0),
            "drop_events": written.get("drop_events", 0.0),
            "lake": written.get("lake"),
        }
        wanted = [file for file in (split, *(task["rows"] for task in tasks.values())) if file]
        return {**written, "text": text, "wanted": wanted, "copied": split if written.get("augment") else None}


class PreparedSegments(Prepared):
    """What ``score`` and ``publish`` need: which segments, when, and by which model."""

    label_set: str
    segments: tuple[str, ...]
    model_version_id: int | None = None  #: the model to score with, where the job does not train one

    @property
    def reads_everyone(self) -> bool:
        """Whether the texts of all users are read at the scoring window."""
        return self.refresh is None or self.refresh.everyone or self.refresh.silent

    @property
    def window(self) -> Window:
        """Where every user is read, to be put in a segment."""
        assert self.text.scoring is not None, "a job that scores has a scoring window"
        return self.text.scoring
