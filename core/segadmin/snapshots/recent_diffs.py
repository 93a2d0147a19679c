"""The differences that were computed last, in memory: the pages and the cells of one are often read together."""

from __future__ import annotations

import threading
from collections import OrderedDict

from segadmin.settings import Settings
from segadmin.snapshots.diff import SnapshotDiff, diff
from segadmin.storage.lake import Lake
from segadmin.storage.records import SegmentSnapshot

_MOST = 3
_Key = tuple[str, int, int, int | None]
_recent: OrderedDict[_Key, SnapshotDiff] = OrderedDict()
_computing = threading.Lock()


def recent_diff(settings: Settings, earlier: SegmentSnapshot, later: SegmentSnapshot) -> SnapshotDiff:
    """Return the difference of two snapshots, from memory if it was computed lately and no user was erased since."""
    version = Lake.of(settings).version("assignments")  # another one after a publication or an erasure
    key = (str(settings.store_path), earlier.id or 0, later.id or 0, version)
    with _computing:  # of many readers at once, one computes it
        compared = _recent.get(key)
        if compared is None:
            for old in [each for each in _recent if each[0] == key[0] and each[3] != version]:
                del _recent[old]  # nobody finds it any more, and it may have users who were erased since
            compared = _recent[key] = diff(settings, earlier, later)
        _recent.move_to_end(key)
        while len(_recent) > _MOST:
            _recent.popitem(last=False)
    return compared
