"""What follows a promotion or a rollback by hand: records of the feed, their delivery, and the hook of plugins."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import PluginError, SegadminError
from segadmin.jobs.dispatch import Dispatch
from segadmin.models.registry import Promotion
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.import_lock import users_stay
from segadmin.storage.records import ModelVersion, SnapshotSwitch
from segadmin.workflows.deliver import enqueue_deliveries

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Followed:
    """What was done for the feed."""

    records: int | None  #: who entered, left or moved; ``None``: not written yet
    deliveries: tuple[int, ...] = ()  #: jobs that deliver them
    trouble: str = ""  #: why records are not written yet; the next publication or delivery writes them
    corrected: int | None = None  #: the snapshot with the corrections of people, in place of that of the champion


def complete(settings: Settings, promotion: Promotion, dispatch: Dispatch) -> Followed:
    """Do everything that follows a promotion or rollback, which is committed: corrections, feeds, and plugins' hooks.

    What fails is logged and in ``trouble``; the promotion stays, and the next refresh does the rest.
    """
    from segadmin.snapshots.corrections import keep_corrections

    corrected, troubles = None, []
    try:
        corrected = None if promotion.snapshot is None else keep_corrections(settings, promotion.label_set)
    except SegadminError as error:
        log.warning("corrections could not be published", extra={"action": "correct", "label_set": promotion.label_set})
        troubles.append(str(error))
    followed = follow(settings, promotion, dispatch)
    try:
        announce(settings, promotion)
    except PluginError as error:  # logged by then, with its traceback
        troubles.append(str(error))
    return replace(followed, corrected=corrected, trouble=" ".join(filter(None, [*troubles, followed.trouble])))


def follow(settings: Settings, promotion: Promotion, dispatch: Dispatch) -> Followed:
    """Write the records of a promotion or rollback, which is committed, and enqueue their delivery.

    A promotion that could not be followed stays one: the records are written with the next publication or delivery.
    """
    from segadmin.snapshots.feed import write_changes

    if promotion.switch is None:
        return Followed(0)
    try:
        with users_stay(settings):
            write_changes(settings, promotion.label_set)
    except (SegadminError, OSError) as error:
        log.warning("the changes could not be written", extra={"action": "feed", "label_set": promotion.label_set})
        return Followed(None, trouble=str(error))
    with reading(settings) as session:
        records = session.get_one(SnapshotSwitch, promotion.switch).changes
    jobs = enqueue_deliveries(settings, dispatch)
    mine = [job.id for job in jobs if job.options.get("labels") == promotion.label_set]
    return Followed(records, tuple(number for number in mine if number is not None))


def announce(settings: Settings, promotion: Promotion) -> None:
    """Call the hook ``model_promoted`` of every plugin.

    Raises:
        PluginError: a plugin failed in it; the promotion stays.
    """
    with reading(settings) as session:
        version = session.get_one(ModelVersion, promotion.champion)
    load_plugins(settings).announce("model_promoted", version=version)
