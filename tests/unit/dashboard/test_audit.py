"""The subjects of the audit log lead to their pages."""

from __future__ import annotations

import pytest

from segadmin.storage.records import Audit
from segadmin_api.dashboard.audit import AuditRow


@pytest.mark.parametrize(
    ("subject", "link"),
    [
        ("job 9", "/jobs/9"),
        ("snapshot 6", "/snapshots/6"),
        ("user 60f85631f1f39585", "/users/60f85631f1f39585"),
        ("user <b>", ""),
        ("key admin", ""),
    ],
)
def test_a_subject_leads_to_its_page(subject: str, link: str) -> None:
    assert AuditRow.of(Audit(actor="ann", action="users.show", subject=subject)).link == link
