"""What segments are for and who is responsible for them: written by people, every version is kept.

The CLI, the HTTP API and the pages call :func:`describe`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from segadmin.errors import ConfigurationError, Stale, did_you_mean
from segadmin.settings import Settings
from segadmin.snapshots.corrections import segments_of_labels
from segadmin.storage.audit import current_actor, entry
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import MAX_DESCRIPTION, MAX_OWNER, SegmentDescription

_CHANGED = "Somebody else changed the description of {segment!r} meanwhile: it is at revision {now}, not {expected}."


def describe(
    settings: Settings,
    label_set: str,
    segment: str,
    *,
    description: str | None = None,
    owner: str | None = None,
    expected: int | None = None,
) -> SegmentDescription:
    """Write what a segment is for and who is responsible for it; the version before is kept.

    Args:
        settings: location of the database.
        label_set: its name.
        segment: of the label set.
        description: ``None``: as before.
        owner: a person or a team; ``None``: as before.
        expected: the revision that the caller has read, 0 if there was none; ``None``: any.

    Returns:
        The version that holds now: the one before, if nothing differs.

    Raises:
        Stale: somebody else wrote another revision than ``expected`` meanwhile; nothing was written.
        ConfigurationError: there is no such label set or segment, or a text is too long.
    """
    asked = {"description": description, "owner": owner}
    texts = {name: None if text is None else _checked(name, text) for name, text in asked.items()}
    try:
        with transaction(settings) as session:
            _check_segment(session, label_set, segment)
            before = description_of(session, label_set, segment)
            if expected not in {None, before.revision}:
                raise Stale(_CHANGED.format(segment=segment, now=before.revision, expected=expected))
            was = {"description": before.description, "owner": before.owner}
            written = {name: was[name] if text is None else text for name, text in texts.items()}
            if written == was:
                return before
            row = SegmentDescription(
                label_set=label_set,
                segment=segment,
                revision=before.revision + 1,
                actor=current_actor(),
                created_at=now(session),
                description=written["description"],
                owner=written["owner"],
            )
            session.add(row)
            facts = {name: {"before": was[name], "after": text} for name, text in written.items()}
            session.add(entry("segments.describe", f"segment {label_set}/{segment}", revision=row.revision, **facts))
            session.flush()
            return row
    except IntegrityError:  # of two at the same time, the second
        with reading(settings) as session:
            revision = description_of(session, label_set, segment).revision
        raise Stale(_CHANGED.format(segment=segment, now=revision, expected=revision - 1)) from None


def description_of(session: Session, label_set: str, segment: str) -> SegmentDescription:
    """Return the version that holds; of a segment that nobody has described, an empty one of revision 0."""
    newest = next(iter(descriptions_of(session, label_set, segment, limit=1)), None)
    return newest or no_description(label_set, segment)


def no_description(label_set: str, segment: str) -> SegmentDescription:
    """Return the empty description of a segment that nobody has described."""
    return SegmentDescription(label_set=label_set, segment=segment, revision=0, description="", owner="", actor="")


def descriptions_of(
    session: Session, label_set: str, segment: str, *, limit: int = 100
) -> Sequence[SegmentDescription]:
    """Return the versions of a segment's description, newest first."""
    query = select(SegmentDescription).where(
        SegmentDescription.label_set == label_set, SegmentDescription.segment == segment
    )
    return session.exec(query.order_by(col(SegmentDescription.revision).desc()).limit(limit)).all()


def all_descriptions(session: Session, label_set: str) -> dict[str, SegmentDescription]:
    """Return the descriptions that hold, by segment."""
    query = select(SegmentDescription).where(SegmentDescription.label_set == label_set)
    return {row.segment: row for row in session.exec(query.order_by(col(SegmentDescription.revision))).all()}


def _check_segment(session: Session, label_set: str, segment: str) -> None:
    name, segments = segments_of_labels(session, label_set)
    if segment not in segments:
        raise ConfigurationError(
            f"There is no segment {segment!r} in {name!r}.{did_you_mean(segment, segments)} See: segadmin segments list"
        )


def _checked(name: str, text: str) -> str:
    text = text.replace("\r\n", "\n").strip()
    most = MAX_DESCRIPTION if name == "description" else MAX_OWNER
    if len(text) > most:
        raise ConfigurationError(f"The {name} has {len(text):,} characters; {most:,} are allowed. Shorten it.")
    if "\x00" in text:
        raise ConfigurationError(f"The {name} has a NUL character, which cannot be stored. Leave it out.")
    if name == "owner" and "\n" in text:
        raise ConfigurationError("The owner has several lines. Name a person or a team in one.")
    return text
