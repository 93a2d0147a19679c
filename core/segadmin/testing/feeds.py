"""The contract of a feed, as a test for authors of feeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from segadmin.contracts.feed import Feed, FeedBatch

#: Fields of a record that every receiver needs for a replay.
_NEEDED = ("user", "change", "from_segment", "to_segment")
Records = Sequence[Mapping[str, Any]]


def sample_batches(feed: str = "sample") -> list[FeedBatch]:
    """Return batches of three changes of the current snapshot, in order; erased users leave gaps in the positions."""
    places = [(3, 1, (1, 2, 4)), (3, 501, (777,)), (5, 1, (2,)), (10, 1, tuple(range(1, 13)))]
    return [
        FeedBatch(feed, sequence, first, [_record(sequence, position) for position in positions])
        for sequence, first, positions in places
    ]


def check_feed(feed: Feed, received: Callable[[], Records]) -> None:
    """Check that segadmin can use ``feed`` and that its receiver gets every record once, in order.

    Args:
        feed: with the options that the receiver needs.
        received: returns what the receiver has, after it ignored what it knew. A null may be missing, and so may fields
            that a replay does not need.

    Raises:
        AssertionError: with the rule of the contract that is violated.
    """
    assert getattr(feed, "name", ""), "give it a name: ClassVar[str]"
    feed.check()
    batches, expected = sample_batches(), list[Mapping[str, Any]]()
    for batch in batches:
        expected += batch.records
        for attempt in ("", " after a repeated delivery"):
            feed.deliver(batch)
            _compare(received(), expected, attempt)
    cut = FeedBatch("sample", 11, 1, [_record(11, 1), _record(11, 2)])
    feed.deliver(cut)
    without_erased = FeedBatch("sample", 11, 1, cut.records[1:])
    feed.deliver(without_erased)
    _compare(received(), [*expected, *cut.records], " after a repeated delivery without a user who was erased")


def _compare(received: Records, expected: Records, when: str) -> None:
    places = [f"{record['sequence']}-{record['position']}" for record in received]
    wanted = [f"{record['sequence']}-{record['position']}" for record in expected]
    assert places == wanted, f"the receiver has the records {places} and not {wanted}{when}"
    for got, record in zip(received, expected, strict=True):
        for name, value in record.items():
            if name not in _NEEDED and name not in got:
                continue
            shown = got.get(name)
            is_same = shown is None if value is None else str(shown) == str(value)
            assert is_same, f"the receiver has {name}={shown!r} and not {value!r}{when}"


def _record(sequence: int, position: int) -> dict[str, Any]:
    change = ("entered", "moved", "left")[position % 3]
    return {
        "label_set": "消费",
        "snapshot_id": sequence + 1,
        "sequence": sequence,
        "position": position,
        "user": f"{position * 7919:016x}",
        "change": change,
        "from_segment": None if change == "entered" else "low",
        "to_segment": None if change == "left" else "高",
        "cause": None if position % 4 == 0 else "new events",
        "as_of": "2026-03-01T00:00:00+00:00",
    }
