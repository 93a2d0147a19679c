"""``/keys``: who may do what; for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse

from segadmin.errors import ConfigurationError, KeyNotFound, NameTaken, Stale
from segadmin.storage import api_keys
from segadmin.storage.records import Scope
from segadmin_api.dashboard import keys
from segadmin_api.dashboard.keys import VALIDITIES, KeyForm
from segadmin_api.dashboard.render import text_of
from segadmin_api.http.forms import Form, RequiresForm, go_to
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, on_page, reader_of

router, forms = pages_router(Scope.ADMIN), forms_router()
AdminForm = Annotated[Form, Depends(RequiresForm(Scope.ADMIN))]


@router.get("/keys")
def list_keys(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the keys."""
    return html_response(keys.list_page(api_keys.keys(settings_of(request)), reader))


@forms.post("/keys")
def create(request: Request, form: AdminForm) -> Response:
    """Create a key, and show it once: it is in no address, cookie or cache."""
    settings, reader = settings_of(request), on_page(reader_of(request), "/keys")
    wanted = KeyForm(form.text("name"), form.text("scope"), form.text("validity"))
    try:
        if wanted.scope not in set(Scope) or wanted.validity not in VALIDITIES:
            raise ConfigurationError("The form is not from this page. Load it again.")
        ends = api_keys.expiry(wanted.validity) if wanted.validity else None
        key = api_keys.create(settings, wanted.name, Scope(wanted.scope), expires_at=ends)
    except (ConfigurationError, NameTaken) as error:
        refused = KeyForm(wanted.name, wanted.scope, wanted.validity, str(error))
        return html_response(keys.list_page(api_keys.keys(settings), reader, refused), 422)
    return html_response(keys.new_page(wanted.name, key, reader), 201)


@forms.post("/keys/revoke")
def revoke(request: Request, form: AdminForm) -> Response:
    """Revoke the key that the page has shown."""
    settings, reader, name = settings_of(request), reader_of(request), form.text("name")
    try:
        api_keys.revoke(settings, name, made=_moment(form.text("made")))
    except (KeyNotFound, Stale) as error:
        problem = text_of(reader, "The key %(name)s has changed since this page was shown.", name=name)
        page = keys.list_page(api_keys.keys(settings), on_page(reader, "/keys"), problem=f"{problem} {error}")
        return html_response(page, 412)
    return go_to("/keys", text_of(reader, "The key %(name)s is revoked.", name=name))


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"made: {text!r} is not the time at which the key was made. Load the page again."
        ) from None
