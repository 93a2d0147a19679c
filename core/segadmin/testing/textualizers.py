"""The contract of a textualizer, as a test for authors of textualizers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, get_args

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.settings import Language

if TYPE_CHECKING:
    import polars as pl

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
_WINDOW = timedelta(days=112)
#: Days after :data:`AS_OF` at which phrases are compared; the oldest sample events do not leave the window.
_LATER_DAYS = (1 / 24, 0.5, 1, 2, 4, 7.5, 15, 30, 61)
_USERS = ("alice@example.com", "张伟", "user 3")


def sample_events(users: int = 3, per_user: int = 6) -> pl.DataFrame:
    """Return events as a textualizer receives them: every kind, Chinese words, and nulls in all nullable columns.

    Args:
        users: how many users there are.
        per_user: how many events each has.
    """
    import polars as pl

    from segadmin.contracts.event_kinds import KINDS
    from segadmin.storage.schema import TIME

    rows = [
        {
            "user_key": user * 7919 - 3,
            "event_id": (user * 1009 + n) * 0x1F35_7AE3_0B1D % (1 << 62),
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
    return pl.DataFrame(rows, schema={"user_key": pl.Int64, "event_id": pl.Int64, "at": TIME, **numbers, **words})


def sample_text(textualizer: Textualizer, language: Language) -> list[str]:
    """Return the phrases of one sample user."""
    return _phrases(textualizer, sample_events(users=1), language)["phrase"].to_list()


def check_textualizer(textualizer: Textualizer) -> None:
    """Check that segadmin can use ``textualizer``, in every language.

    Raises:
        AssertionError: with the rule of the contract that is violated.
    """
    assert getattr(textualizer, "name", ""), "give it a name: ClassVar[str]"
    assert textualizer.version, "give it a version"
    for language in get_args(Language):
        _check_users(textualizer, language)
        _check_order(textualizer, language)
        _check_next_change(textualizer, language)
        _phrases(textualizer, sample_events(users=200, per_user=1), language)
        _phrases(textualizer, _bare(sample_events()), language)
        phrases = _phrases(textualizer, sample_events().clear(), language)
        assert phrases.is_empty(), f"{language}: without any events there are phrases: {phrases['phrase'].to_list()}"


def _check_users(textualizer: Textualizer, language: Language) -> None:
    """Check that every user has phrases, which depend on their own events only and contain no raw user ids."""
    import polars as pl

    events = sample_events()
    phrases = _phrases(textualizer, events, language)
    without_phrases = set(events["user_key"]) - set(phrases["user_key"])
    assert not without_phrases, f"{language}: users with every kind of event have no phrase: {sorted(without_phrases)}"
    for user in events["user_key"].unique():
        own = pl.col("user_key") == user
        alone = _phrases(textualizer, events.filter(own), language)
        assert alone.equals(phrases.filter(own)), (
            f"{language}: a user has other phrases when alone; use only the user's own events"
        )
    if not textualizer.raw_user_ids:
        text = " ".join(phrases["phrase"])
        raw_ids = [user for user in _USERS if user in text]
        assert not raw_ids, f"{language}: the text contains the shop's own user ids: {raw_ids}"


def _check_order(textualizer: Textualizer, language: Language) -> None:
    """Check that phrases are the same on a second call and in any order of events, also of the same moment."""
    import polars as pl

    events = sample_events()
    first = events.head(1)
    events = pl.concat([events, *(_changed(first, n) for n in range(1, 4))])
    phrases = _phrases(textualizer, events, language)
    assert phrases.equals(_phrases(textualizer, events, language)), (
        f"{language}: the same events give other phrases on a second call"
    )
    for seed in range(4):
        shuffled = events.sample(fraction=1.0, shuffle=True, seed=seed)
        assert phrases.equals(_phrases(textualizer, shuffled, language)), (
            f"{language}: the same events in another order give other phrases; sort events of the same moment too"
        )


def _check_next_change(textualizer: Textualizer, language: Language) -> None:
    """Check that the phrases of the same events are the same until :meth:`Textualizer.next_change`."""
    import polars as pl

    events = sample_events(users=20, per_user=4)
    visible = events if textualizer.raw_user_ids else events.drop("user")
    context = TextContext(AS_OF - _WINDOW, AS_OF, language)
    returned = textualizer.next_change(visible.lazy(), context) if textualizer.knows_next_change else None
    if returned is None:
        return
    assert isinstance(returned, pl.LazyFrame), f"next_change() returned {type(returned).__name__}, not a LazyFrame"
    changes = returned.select("user_key", "next_change").collect()
    dtype = changes.schema["next_change"]
    assert isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC", f"next_change is {dtype}, not a Datetime in UTC"
    phrases = _phrases(textualizer, events, language)
    for days in _LATER_DAYS:
        as_of = AS_OF + timedelta(days=days)
        over = changes.filter(pl.col("next_change") <= pl.lit(as_of)).select("user_key")
        later = _phrases(textualizer, events, language, as_of).join(over, on="user_key", how="anti")
        before = phrases.join(over, on="user_key", how="anti")
        other = [before.join(later, on=before.columns, how="anti"), later.join(before, on=before.columns, how="anti")]
        changed = pl.concat(other)["user_key"].unique().sort().to_list()
        assert not changed, (
            f"{language}: after {days:g} days there are other phrases before next_change(), of the users {changed[:3]}"
        )


def _changed(event: pl.DataFrame, n: int) -> pl.DataFrame:
    """Return another event at the same moment."""
    import polars as pl

    return event.with_columns(event_id=pl.col("event_id") + n, price=pl.lit(float(n)), duration=60.0 * n)


def _bare(events: pl.DataFrame) -> pl.DataFrame:
    """Return the events with all nullable columns null."""
    import polars as pl

    always = {"user_key", "event_id", "kind", "item", "at", "user"}
    optional = [name for name in events.columns if name not in always]
    return events.with_columns(pl.lit(None, events.schema[name]).alias(name) for name in optional)


def _phrases(
    textualizer: Textualizer, events: pl.DataFrame, language: Language, as_of: datetime = AS_OF
) -> pl.DataFrame:
    """Return the phrases in the order of the framework, after checking their schema."""
    import polars as pl

    visible = events if textualizer.raw_user_ids else events.drop("user")
    context = TextContext(as_of - _WINDOW, as_of, language)
    try:
        returned = textualizer.phrases(visible.lazy(), context)
        assert isinstance(returned, pl.LazyFrame), f"phrases() returned {type(returned).__name__}, not a LazyFrame"
        phrases = returned.collect()
    except AssertionError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:  # a panic of Polars is not an Exception
        input_size = f"{events.height} events of {events['user_key'].n_unique()} users"
        raise AssertionError(f"{language}: phrases() fails on {input_size}: {type(error).__name__}: {error}") from error
    missing = {"user_key", "position", "phrase"} - set(phrases.columns)
    assert not missing, f"phrases() returned no column {', '.join(sorted(missing))}, but {phrases.columns}"
    assert phrases.schema["user_key"] == pl.Int64, f"user_key is {phrases.schema['user_key']}, not Int64"
    assert phrases.schema["phrase"] == pl.String, f"phrase is {phrases.schema['phrase']}, not String"
    assert phrases.schema["position"].is_numeric(), f"position is {phrases.schema['position']}, not a number"
    nulls = phrases.select("user_key", "position", "phrase").null_count().sum_horizontal().item()
    assert nulls == 0, f"{language}: {nulls} nulls; leave such phrases out, or fill the nulls of events"
    blank = phrases.filter(pl.col("phrase").str.strip_chars() == "").height
    assert blank == 0, f"{language}: {blank} phrases are blank; leave them out"
    unknown_users = set(phrases["user_key"]) - set(events["user_key"])
    assert not unknown_users, f"{language}: phrases of users that have no events: {sorted(unknown_users)}"
    return phrases.select("user_key", "position", "phrase").sort("user_key", "position", "phrase")
