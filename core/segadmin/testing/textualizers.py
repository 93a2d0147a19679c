"""The contract of a textualizer as a test that an author runs over their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from segadmin.text.textualizer import TextContext, Textualizer

if TYPE_CHECKING:
    import polars as pl

    from segadmin.settings import Language

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
_USERS = ("alice@example.com", "张伟", "user 3")


def sample_events(users: int = 3, per_user: int = 6) -> pl.DataFrame:
    """Return events as a textualizer gets them: every kind, Chinese words, and nulls wherever there may be some.

    Args:
        users: how many users there are.
        per_user: how many events each has.
    """
    import polars as pl

    from segadmin.events.schema import KINDS, TIME

    rows = [
        {
            "user_key": user * 7919 - 3,
            "kind": KINDS[n % len(KINDS)],
            "item": f"{100 + n}",
            "at": AS_OF - timedelta(days=3 * n + user, hours=n),
            "quantity": None if n % 2 else float(n),
            "price": None if n % 3 else 9.5 * n,
            "duration": None if n % 4 else 600.0,
            "rating": 4.0 if n % len(KINDS) == 3 else None,
            "text": "很好，下次再来" if n % len(KINDS) == 4 else None,
            "extras": None,
            "title": None if n % 3 == 2 else f"苹果 {n}",
            "category": None if n % 3 else "fruit",
            "brand": None,
            "user": _USERS[user % len(_USERS)],
        }
        for user in range(users)
        for n in range(per_user)
    ]
    numbers = dict.fromkeys(("quantity", "price", "duration", "rating"), pl.Float64)
    words = dict.fromkeys(("kind", "item", "text", "extras", "title", "category", "brand", "user"), pl.String)
    return pl.DataFrame(rows, schema={"user_key": pl.Int64, "at": TIME, **numbers, **words})


def check_textualizer(textualizer: Textualizer) -> None:
    """Check that segadmin can use ``textualizer``, in every language.

    Raises:
        AssertionError: saying what is wrong.
    """
    import polars as pl

    assert textualizer.name and textualizer.version, "give it a name and a version"
    for language in ("en", "zh"):
        context = TextContext(AS_OF - timedelta(days=112), AS_OF, language)
        events = sample_events()
        found = _phrases(textualizer, events, context, language)
        again = _phrases(textualizer, events.sample(fraction=1.0, shuffle=True, seed=1), context, language)
        assert found.equals(again), f"{language}: the same events in another order give other phrases"
        silent = set(events["user_key"]) - set(found["user_key"])
        assert not silent, f"{language}: users with events have no phrase: {sorted(silent)}"
        one = events.filter(pl.col("user_key") == events["user_key"][0])
        alone = _phrases(textualizer, one, context, language)
        same = found.filter(pl.col("user_key") == events["user_key"][0])
        assert alone.equals(same), f"{language}: a user reads otherwise when alone; look only at their own events"
        assert _phrases(textualizer, events.clear(), context, language).is_empty(), f"{language}: phrases of nobody"
        if not textualizer.raw_user_ids:
            text = " ".join(found["phrase"])
            told = [user for user in _USERS if user in text]
            assert not told, f"{language}: the text tells the shop's own user ids: {told}"


def _phrases(textualizer: Textualizer, events: pl.DataFrame, context: TextContext, language: Language) -> pl.DataFrame:
    import polars as pl

    given = events if textualizer.raw_user_ids else events.drop("user")
    returned = textualizer.phrases(given.lazy(), context)
    assert isinstance(returned, pl.LazyFrame), f"phrases() returned {type(returned).__name__}, not a LazyFrame"
    found = returned.collect()
    assert {"user_key", "position", "phrase"} <= set(found.columns), f"the columns are {found.columns}"
    assert found.schema["user_key"] == pl.Int64, f"user_key is {found.schema['user_key']}, not Int64"
    assert found.schema["phrase"] == pl.String, f"phrase is {found.schema['phrase']}, not String"
    assert found.schema["position"].is_numeric(), f"position is {found.schema['position']}, not a number"
    nulls = found.select("user_key", "position", "phrase").null_count().sum_horizontal().item()
    assert nulls == 0, f"{language}: {nulls} nulls; leave such phrases out, or fill what an event may lack"
    strangers = set(found["user_key"]) - set(events["user_key"])
    assert not strangers, f"{language}: phrases of users that have no events: {sorted(strangers)}"
    return found.select("user_key", "position", "phrase").sort("user_key", "position", "phrase")
