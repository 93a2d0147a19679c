from datetime import timedelta

from segadmin_emoji_textualizer import Emoji

import segadmin
from segadmin.testing import check_textualizer, sample_events
from segadmin.testing.textualizers import AS_OF, sample_text


def test_it_keeps_the_contract() -> None:
    check_textualizer(Emoji())
    check_textualizer(Emoji(days=7))


def test_repeated_events_become_repeated_emoji() -> None:
    events = sample_events(users=1, per_user=1)  # a view of fruit
    context = segadmin.TextContext(AS_OF - timedelta(days=112), AS_OF, "en")
    for times, phrase in ((1, "👀 fruit"), (2, "👀👀 fruit"), (4, "👀👀👀 fruit"), (100, "👀👀👀👀👀 fruit")):
        phrases = Emoji().phrases(events.sample(times, with_replacement=True).lazy(), context).collect()
        assert phrases["phrase"].to_list() == [phrase]


def test_days_leaves_out_what_is_older() -> None:
    assert sample_text(Emoji(), "en") == ["🧺 101", "🛒 102", "💬 104", "👀 105", "⭐ fruit", "👀 fruit"]
    assert sample_text(Emoji(days=4), "en") == ["🧺 101", "👀 fruit"]
