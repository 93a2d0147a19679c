"""The contract of a textualizer as a test that an author runs over their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, get_args

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.settings import Language

if TYPE_CHECKING:
    import polars as pl

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
_USERS = ("alice@example.com", "张伟", "user 3")


def sample_events(users: int = 3, per_user: int = 6) -> pl.DataFrame:
    """Return events as a textualizer gets them: every kind, Chinese words, and nulls wherever there may be some.

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
    """Return what one sample user reads as."""
    return _phrases(textualizer, sample_events(users=1), language)["phrase"].to_list()


def check_textualizer(textualizer: Textualizer) -> None:
    """Check that segadmin can use ``textualizer``, in every language.

    Raises:
        AssertionError: saying what is wrong.
    """
    assert getattr(textualizer, "name", ""), "give it a name: ClassVar[str]"
    assert textualizer.version, "give it a version"
    for language in get_args(Language):
        _check_users(textualizer, language)
        _check_order(textualizer, language)
        _phrases(textualizer, sample_events(users=200, per_user=1), language)
        _phrases(textualizer, _bare(sample_events()), language)
        nobody = _phrases(textualizer, sample_events().clear(), language)
        assert nobody.is_empty(), f"{language}: without any events there are phrases: {nobody['phrase'].to_list()}"


def _check_users(textualizer: Textualizer, language: Language) -> None:
    """Every user reads as something, from their own events alone, under no name of the shop's."""
    import polars as pl

    events = sample_events()
    found = _phrases(textualizer, events, language)
    silent = set(events["user_key"]) - set(found["user_key"])
    assert not silent, f"{language}: users with every kind of event have no phrase: {sorted(silent)}"
    for user in events["user_key"].unique():
        mine = pl.col("user_key") == user
        alone = _phrases(textualizer, events.filter(mine), language)
        assert alone.equals(found.filter(mine)), (
            f"{language}: a user reads otherwise when alone; look only at their own events"
        )
    if not textualizer.raw_user_ids:
        text = " ".join(found["phrase"])
        told = [user for user in _USERS if user in text]
        assert not told, f"{language}: the text tells the shop's own user ids: {told}"


def _check_order(textualizer: Textualizer, language: Language) -> None:
    """The same events read the same: again, in another order, and where several are of one moment."""
    import polars as pl

    events = sample_events()
    alike = events.head(1)
    events = pl.concat([events, *(_changed(alike, n) for n in range(1, 4))])
    found = _phrases(textualizer, events, language)
    assert found.equals(_phrases(textualizer, events, language)), f"{language}: the same events twice read otherwise"
    for seed in range(4):
        shuffled = events.sample(fraction=1.0, shuffle=True, seed=seed)
        assert found.equals(_phrases(textualizer, shuffled, language)), (
            f"{language}: the same events in another order give other phrases; events of one moment need a rule too"
        )


def _changed(event: pl.DataFrame, n: int) -> pl.DataFrame:
    """Return another event of the same moment."""
    import polars as pl

    return event.with_columns(event_id=pl.col("event_id") + n, price=pl.lit(float(n)), duration=60.0 * n)


def _bare(events: pl.DataFrame) -> pl.DataFrame:
    """Return the events with all null that may be."""
    import polars as pl

    always = {"user_key", "event_id", "kind", "item", "at", "user"}
    optional = [name for name in events.columns if name not in always]
    return events.with_columns(pl.lit(None, events.schema[name]).alias(name) for name in optional)


def _phrases(textualizer: Textualizer, events: pl.DataFrame, language: Language) -> pl.DataFrame:
    """Return the phrases as the framework sorts them, having checked their form."""
    import polars as pl

    given = events if textualizer.raw_user_ids else events.drop("user")
    context = TextContext(AS_OF - timedelta(days=112), AS_OF, language)
    try:
        returned = textualizer.phrases(given.lazy(), context)
        assert isinstance(returned, pl.LazyFrame), f"phrases() returned {type(returned).__name__}, not a LazyFrame"
        found = returned.collect()
    except AssertionError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:  # a panic of Polars is no Exception
        what = f"{events.height} events of {events['user_key'].n_unique()} users"
        raise AssertionError(f"{language}: phrases() fails on {what}: {type(error).__name__}: {error}") from error
    missing = {"user_key", "position", "phrase"} - set(found.columns)
    assert not missing, f"phrases() returned no column {', '.join(sorted(missing))}, but {found.columns}"
    assert found.schema["user_key"] == pl.Int64, f"user_key is {found.schema['user_key']}, not Int64"
    assert found.schema["phrase"] == pl.String, f"phrase is {found.schema['phrase']}, not String"
    assert found.schema["position"].is_numeric(), f"position is {found.schema['position']}, not a number"
    nulls = found.select("user_key", "position", "phrase").null_count().sum_horizontal().item()
    assert nulls == 0, f"{language}: {nulls} nulls; leave such phrases out, or fill what an event may lack"
    blank = found.filter(pl.col("phrase").str.strip_chars() == "").height
    assert blank == 0, f"{language}: {blank} phrases are blank; leave them out"
    strangers = set(found["user_key"]) - set(events["user_key"])
    assert not strangers, f"{language}: phrases of users that have no events: {sorted(strangers)}"
    return found.select("user_key", "position", "phrase").sort("user_key", "position", "phrase")
