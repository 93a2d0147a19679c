from __future__ import annotations

import pytest

from segadmin.errors import DataError
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.label_sets import check_label_set
from segadmin.storage.records import LabelSet


def test_a_new_name_has_no_slash_and_an_old_one_stays(settings: Settings) -> None:
    database.ensure_schema(settings)
    check_label_set(settings, "spend3")
    with pytest.raises(DataError, match=r"'spend/3', has a slash.*such as 'spend-3'"):
        check_label_set(settings, "spend/3")
    with pytest.raises(DataError, match="is empty"):
        check_label_set(settings, "")
    with transaction(settings) as session:
        session.add(LabelSet(name="spend/3", labeler="table"))
    check_label_set(settings, "spend/3")
