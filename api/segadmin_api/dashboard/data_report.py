"""The page of the data profile."""

from __future__ import annotations

from segadmin.events.profile import Profile
from segadmin_api.dashboard.charts import events_by_day
from segadmin_api.dashboard.render import number, render


def page(profile: Profile) -> str:
    """Return the page of ``profile``."""
    chart = events_by_day(profile)
    return render("data_report.html", title="data profile", profile=profile, figures=figures_of(profile), chart=chart)


def figures_of(profile: Profile) -> dict[str, object]:
    """Return the numbers at the head of ``profile``."""
    return {
        "events": number(profile.events),
        "users": number(profile.users),
        "items": number(profile.items),
        "from": profile.first,
        "to": profile.last,
    }
