"""``/segments``: the segments of the current snapshots, one of them with its description, and two side by side."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from segadmin.errors import ConfigurationError, Stale
from segadmin.snapshots.descriptions import describe
from segadmin.snapshots.segment_view import view_segment
from segadmin.storage.database import reading
from segadmin.storage.records import Scope
from segadmin_api.dashboard import segment as profile
from segadmin_api.dashboard import segments
from segadmin_api.http.forms import Form, RequiresForm, go_to
from segadmin_api.http.html import html_response
from segadmin_api.http.local_paths import path_of
from segadmin_api.http.pages.routes import forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader

router, forms = pages_router(), forms_router()


@router.get("/segments")
def list_segments(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the segments of the current snapshots."""
    with reading(settings_of(request)) as session:
        return html_response(segments.list_page(session, reader))


@router.get("/segments/{label_set}/{segment:path}")
def show_segment(
    request: Request,
    label_set: str,
    segment: str,
    reader: PageReader,
    compare: Annotated[str, Query(max_length=200)] = "",
) -> HTMLResponse:
    """Show one segment, or with ``compare`` two side by side."""
    settings = settings_of(request)
    view = view_segment(settings, label_set, segment)
    if compare:
        return html_response(profile.compare_page(view, view_segment(settings, label_set, compare), reader))
    return html_response(profile.page(profile.content_of(settings, view), reader))


@forms.post("/segments/{label_set}/{segment:path}", response_model=None)
def describe_segment(
    request: Request,
    label_set: str,
    segment: str,
    form: Annotated[Form, Depends(RequiresForm(Scope.OPERATOR))],
    reader: PageReader,
) -> Response:
    """Write the description and the owner; what cannot be written is shown again."""
    settings, revision = settings_of(request), form.text("revision")
    texts = {name: form.text(name) for name in ("description", "owner")}
    try:
        expected = int(revision) if revision.isdecimal() and len(revision) < 10 else -1
        row = describe(settings, label_set, segment, **texts, expected=expected)
    except (ConfigurationError, Stale) as error:
        view = view_segment(settings, label_set, segment)
        problem, status = (profile.stale_edit(reader), 412) if isinstance(error, Stale) else (str(error), 422)
        edit = profile.Edit(texts["description"], texts["owner"], problem)
        return html_response(profile.page(profile.content_of(settings, view), reader, edit), status)
    return go_to(path_of(request), profile.saved(row, reader))
