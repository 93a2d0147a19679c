"""Forms that change a champion: what they have to hold, and what their answers say."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from fastapi.responses import RedirectResponse

from segadmin.errors import Stale
from segadmin.models.champion_changes import champion_change
from segadmin.models.registry import Promotion
from segadmin.models.versions import find_version
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.urls import mask_secrets
from segadmin.workflows.follow_promotion import complete
from segadmin_api.dashboard.model import changed_meanwhile
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import text_of
from segadmin_api.http.forms import Form, go_to
from segadmin_worker.client import dispatcher

#: Changes the champion, if the given one still is it.
Change = Callable[[int | None], Promotion]


class Incomplete(ValueError):
    """A form lacks what it needs."""


def changed(form: Form, reader: Reader, change: Change) -> Promotion:
    """Change the champion as a form wants it.

    Raises:
        Incomplete: it has no reason, or does not hold the champion that its page has shown.
        SegadminError: see :mod:`segadmin.models.registry`.
    """
    if not form.text("reason"):
        raise Incomplete(text_of(reader, "Give a reason: it is kept in the audit log."))
    seen = form.text("champion")
    if seen != "none" and not (seen.isascii() and seen.isdecimal() and len(seen) < 10):
        raise Incomplete(text_of(reader, "The form does not say which champion it is to replace. Load the page again."))
    return change(None if seen == "none" else int(seen))


def done(settings: Settings, promotion: Promotion, reader: Reader) -> RedirectResponse:
    """Do what follows a promotion, and lead to the page of the champion with a notice."""
    followed = complete(settings, promotion, dispatcher(settings))
    facts = {"version": promotion.champion, "labels": promotion.label_set, "snapshot": promotion.snapshot}
    notice = text_of(reader, "Version %(version)s is champion of %(labels)s.", **facts)
    if promotion.snapshot is None:
        notice += " " + text_of(reader, "It has not scored everybody yet: the next refresh does.")
    else:
        notice += " " + text_of(reader, "Its newest snapshot, %(snapshot)s, is current.", **facts)
    if followed.trouble:
        notice += f" {mask_secrets(followed.trouble)}"
    return go_to(f"/models/{promotion.champion}", notice)


def problem(settings: Settings, version: int, error: Exception, reader: Reader) -> str:
    """Return why a form was refused: what changed meanwhile, in the language of the reader."""
    if not isinstance(error, Stale):
        return mask_secrets(str(error))
    with reading(settings) as session:
        return changed_meanwhile(champion_change(session, find_version(session, str(version)).label_set), reader)


def status_of(error: Exception) -> HTTPStatus:
    """Return the status of the answer to a form that was refused."""
    if isinstance(error, Stale):
        return HTTPStatus.PRECONDITION_FAILED
    return HTTPStatus.UNPROCESSABLE_ENTITY if isinstance(error, Incomplete) else HTTPStatus.CONFLICT
