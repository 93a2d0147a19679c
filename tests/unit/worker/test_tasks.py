from __future__ import annotations

import gc
import weakref

import pytest

from segadmin.settings import Settings


class Kept:
    def __init__(self) -> None:
        self.itself = self


def test_frozen_objects_are_collected_periodically(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from segadmin_worker import tasks

    garbage = tasks._Garbage()
    try:
        kept = Kept()
        seen = weakref.ref(kept)
        garbage.freeze()
        del kept
        garbage.freeze()
        gc.collect()
        assert seen() is not None
        monkeypatch.setattr(tasks, "_FULL_COLLECTION_SECONDS", -1.0)
        garbage.freeze()
        assert seen() is None
    finally:
        gc.unfreeze()
