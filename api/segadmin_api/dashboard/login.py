"""The login page."""

from __future__ import annotations

from segadmin_api.dashboard.render import render


def page(token: str, target: str, detail: str = "") -> str:
    """Return the login page.

    Args:
        token: the token of its form.
        target: the path to continue at.
        detail: why the last attempt was refused.
    """
    return render("login.html", title="log in", token=token, target=target, detail=detail)
