"""``/plugins``: what is installed, where it comes from, and whether it works."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.responses import HTMLResponse

from segadmin.contracts.plugins import load_plugins
from segadmin.settings import Settings
from segadmin.storage.records import Scope
from segadmin.urls import mask_secrets
from segadmin_api.dashboard import plugins
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import text_of
from segadmin_api.http.diagnosis import check_plugin
from segadmin_api.http.forms import Form, RequiresForm
from segadmin_api.http.html import html_response
from segadmin_api.http.pages.routes import forms_router, pages_router, settings_of
from segadmin_api.http.readers import PageReader, on_page, reader_of
from segadmin_api.plugin_details import list_plugins as registered
from segadmin_api.plugin_details import plugin_details
from segadmin_api.schemas.data import PluginDetails

router, forms = pages_router(), forms_router()
AdminForm = Annotated[Form, Depends(RequiresForm(Scope.ADMIN))]
Kind = Annotated[str, Path(max_length=100)]
Name = Annotated[str, Path(max_length=200)]


@router.get("/plugins")
def list_plugins(request: Request, reader: PageReader) -> HTMLResponse:
    """Show the plugins."""
    settings = settings_of(request)
    broken = [mask_secrets(str(error)) for error in load_plugins(settings).broken.values()]
    return html_response(plugins.list_page(registered(settings), broken, reader))


@router.get("/plugins/{kind}/{name}")
def show_plugin(request: Request, kind: Kind, name: Name, reader: PageReader) -> HTMLResponse:
    """Show a plugin with its options."""
    return html_response(plugins.page(_details(settings_of(request), kind, name, reader), reader))


@forms.post("/plugins/{kind}/{name}/check")
def check(request: Request, kind: Kind, name: Name, form: AdminForm) -> HTMLResponse:
    """Run the contract tests of a plugin, and show what they found."""
    settings, reader = settings_of(request), on_page(reader_of(request), form.back)
    result = check_plugin(settings, kind, name, {})
    return html_response(plugins.page(_details(settings, kind, name, reader), reader, result))


def _details(settings: Settings, kind: str, name: str, reader: Reader) -> PluginDetails:
    return plugin_details(settings, kind, name, partial(text_of, reader))
