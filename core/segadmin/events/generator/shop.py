"""Making the log: users in blocks, each from a seed of its own, so memory is bounded by a block."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from segadmin.contracts.event_kinds import KINDS
from segadmin.events.generator.people import BRANDS, CATEGORIES, REVIEWS, SEGMENTS, STYLES
from segadmin.settings import Language
from segadmin.storage.schema import TIME

#: Users made at a time.
BLOCK_USERS = 5_000
#: Events of a bot, all on one day: far more than a person's.
BOT_EVENTS = 2_500
_MICROSECONDS = 1_000_000


class Plan(BaseModel):
    """What to make; the same plan makes the same bytes."""

    model_config = ConfigDict(frozen=True)

    users: int = Field(ge=1)
    days: int = Field(default=120, ge=1, le=3_650)
    locale: Language = "en"
    seed: int = Field(default=0, ge=0)
    items: int = Field(default=2_000, ge=len(CATEGORIES["en"]))
    until: AwareDatetime = datetime(2026, 1, 1, tzinfo=UTC)  #: where the log ends
    drift_day: int | None = Field(default=None, ge=1)  #: from this day on some users are in another segment
    drift_share: float = Field(default=0.2, ge=0.0, le=1.0)
    cold_share: float = Field(default=0.05, ge=0.0, le=1.0)  #: users with one to three events
    bot_share: float = Field(default=0.001, ge=0.0, le=1.0)
    duplicate_share: float = Field(default=0.002, ge=0.0, le=1.0)  #: rows that are there twice
    dirty_share: float = Field(default=0.002, ge=0.0, le=1.0)  #: rows that cannot be used, beside the good ones
    return_share: float = Field(default=0.03, ge=0.0, le=1.0)  #: purchases that are given back

    @property
    def since(self) -> datetime:
        """Where the log begins."""
        return self.until - timedelta(days=self.days)

    @property
    def blocks(self) -> int:
        """How many blocks of users there are."""
        return -(-self.users // BLOCK_USERS)


@dataclass(frozen=True)
class Block:
    """The users of one block."""

    events: pl.DataFrame
    dirty: pl.DataFrame  #: rows that cannot be used, all text
    truth: pl.DataFrame
    counts: Counter[str]  #: duplicates, bot_events, mended and dirty:REASON


def catalogue(plan: Plan) -> pl.DataFrame:
    """Return the items: item, title, category, brand, price; within a category the cheapest first."""
    random = np.random.default_rng([plan.seed, 0])
    categories = CATEGORIES[plan.locale]
    of = np.sort(np.arange(plan.items) % len(categories))
    medians = np.array([median for _, median, _ in categories])
    price = np.round(medians[of] * random.lognormal(0.0, 0.8, plan.items), 2)
    order = np.lexsort((price, of))
    gap = "" if plan.locale == "zh" else " "
    titles = [
        gap.join((BRANDS[plan.locale][brand], STYLES[plan.locale][style], categories[place][2][noun]))
        for place, brand, style, noun in zip(
            of, *(random.integers(0, size, plan.items) for size in (8, 8, 5)), strict=True
        )
    ]
    return pl.DataFrame(
        {
            "item": [f"{100_000 + n}" for n in range(plan.items)],
            "title": titles,
            "category": [categories[place][0] for place in of],
            "brand": [title.split(gap)[0] if gap else title[:2] for title in titles],
            "price": price[order],
        }
    )


def make(plan: Plan, number: int, items: pl.DataFrame) -> Block:
    """Return block ``number`` (from 0) of the plan; blocks do not depend on each other."""
    random = np.random.default_rng([plan.seed, 1, number])
    first = number * BLOCK_USERS
    users = min(BLOCK_USERS, plan.users - first)
    truth = _truth(plan, random, first, users)
    events = _events(plan, random, truth, items)
    events = events.with_columns(event_id=pl.format("{}-{}", pl.lit(number), pl.int_range(pl.len())))
    counts = Counter({"bot_events": int(truth["is_bot"].sum()) * BOT_EVENTS})
    people = events.filter(~pl.col("bot")).drop("bot")
    again = people.filter(random.random(people.height) < plan.duplicate_share)
    counts["duplicates"] = again.height
    dirty = _dirty(people.filter(random.random(people.height) < plan.dirty_share), counts)
    rows = pl.concat([events.drop("bot"), again]).sort("at", maintain_order=True)
    return Block(rows, dirty, truth.drop("which", "later", "count"), counts)


def _truth(plan: Plan, random: np.random.Generator, first: int, users: int) -> pl.DataFrame:
    shares = np.array([segment.share for segment in SEGMENTS])
    which = random.choice(len(SEGMENTS), users, p=shares / shares.sum())
    drifts = (random.random(users) < plan.drift_share) & (plan.drift_day is not None)
    later = np.where(drifts, (which + random.integers(1, len(SEGMENTS), users)) % len(SEGMENTS), which)
    bot = random.random(users) < plan.bot_share
    cold = ~bot & (random.random(users) < plan.cold_share)
    daily = np.array([segment.daily for segment in SEGMENTS])[which] * random.gamma(3.0, 1 / 3.0, users)
    count = np.where(cold, random.integers(1, 4, users), 1 + random.poisson(daily * plan.days))
    names = np.array([segment.name for segment in SEGMENTS])
    return pl.DataFrame(
        {
            "user": [f"user-{first + n:09}" for n in range(users)],
            "segment": names[which],
            "segment_after_drift": names[later],
            "drift_day": [plan.drift_day if drift else None for drift in drifts],
            "is_bot": bot,
            "is_cold": cold,
            "which": which,
            "later": later,
            "count": np.where(bot, BOT_EVENTS, count),
        }
    )


def _events(plan: Plan, random: np.random.Generator, truth: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    row = np.repeat(np.arange(truth.height), truth["count"].to_numpy())
    size = len(row)
    bot = truth["is_bot"].to_numpy()[row]
    day = _days(plan, random, truth, row)
    after = (plan.drift_day is not None) & (day >= (plan.drift_day or 0))
    which = np.where(after, truth["later"].to_numpy()[row], truth["which"].to_numpy()[row])
    kind = np.where(bot, 0, _draw(random, [segment.kinds for segment in SEGMENTS], which))
    item = _items(plan, random, which)
    hour = np.array([segment.hour for segment in SEGMENTS])[which] + random.normal(0.0, 3.0, size)
    seconds = np.where(bot, random.random(size) * 86_400, (hour % 24.0) * 3_600)
    stars = np.array([segment.stars for segment in SEGMENTS])[which] + random.normal(0.0, 0.9, size)
    stars = np.clip(np.round(stars), 1, 5)
    bought, viewed, rated, wrote = kind == 2, kind == 0, kind >= 3, kind == 4
    given_back = bought & (random.random(size) < plan.return_share)
    quantity = np.where(bought, 1.0 + random.poisson(0.3, size), np.nan)
    said = 4 * np.where(stars <= 2, 0, np.where(stars == 3, 1, 2)) + random.integers(0, 4, size)
    phrases = pl.Series([phrase for some in REVIEWS[plan.locale] for phrase in some])
    microseconds = (day * 86_400 + seconds) * _MICROSECONDS
    start = int(plan.since.timestamp() * _MICROSECONDS)
    return pl.DataFrame(
        {
            "user": truth["user"].gather(row),
            "kind": pl.Series([*KINDS, "return"]).gather(np.where(given_back, len(KINDS), kind)),
            "item": items["item"].gather(item),
            "at": pl.Series(start + microseconds.astype(np.int64)).cast(TIME),
            "quantity": quantity,
            "price": np.where(bought, np.round(items["price"].to_numpy()[item] * np.nan_to_num(quantity), 2), np.nan),
            "duration": np.where(viewed, np.round(random.exponential(90.0, size), 1), np.nan),
            "rating": np.where(rated, stars, np.nan),
            "text": phrases.gather(pl.select(pl.when(pl.Series(wrote)).then(pl.Series(said))).to_series()),
            "bot": bot,
        },
        nan_to_null=True,
    )


def _days(plan: Plan, random: np.random.Generator, truth: pl.DataFrame, row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the day of each event: who lapses comes no more at the end, and a bot comes on one day."""
    ends = np.array([segment.ends for segment in SEGMENTS])
    last = np.maximum(1, plan.days * ends[truth["later"].to_numpy()][row]).astype(np.int64)
    day = (random.random(len(row)) * last).astype(np.int64)
    one = random.integers(0, plan.days, truth.height)[row]
    return np.where(truth["is_bot"].to_numpy()[row], one, day)


def _items(plan: Plan, random: np.random.Generator, which: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which item each event is about: a category by the segment's weights, and there by what it pays."""
    category = _draw(random, [segment.categories for segment in SEGMENTS], which)
    of = np.sort(np.arange(plan.items) % len(CATEGORIES[plan.locale]))
    start = np.searchsorted(of, np.arange(len(CATEGORIES[plan.locale]) + 1))
    dear = np.array([segment.dear for segment in SEGMENTS])[which]
    place = random.random(len(which)) ** (1.0 / dear)
    return (start[category] + place * (start[category + 1] - start[category])).astype(np.int64)


def _draw(random: np.random.Generator, weights: Any, which: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a choice for each event, by the weights of its segment."""
    table = np.array(weights, dtype=float)
    cumulative = np.cumsum(table / table.sum(axis=1, keepdims=True), axis=1)[:, :-1]
    drawn = random.random(len(which))
    choice = np.zeros(len(which), np.int64)
    for column in cumulative.T:
        choice += drawn >= column[which]
    return choice


def _dirty(rows: pl.DataFrame, counts: Counter[str]) -> pl.DataFrame:
    """Return rows as text, each spoilt in one way; count them by the reason that quarantine will give."""
    spoilt = {
        "missing_user": pl.lit(None, pl.String).alias("user"),
        "missing_item": pl.lit("  ").alias("item"),
        "unknown_kind": pl.lit("stare").alias("kind"),
        "bad_time": pl.lit("2026-02-30 25:00").alias("at"),
        "bad_number": pl.lit("12,5 or so").alias("price"),
        "impossible_value": pl.lit("-7").alias("rating"),
    }
    ids = pl.format("dirty-{}", "event_id")
    text = rows.with_columns(ids.alias("event_id"), pl.col("at").dt.strftime("%Y-%m-%d %H:%M:%S%.6f"))
    text = text.select(pl.all().cast(pl.String))
    parts = []
    for place, (reason, cell) in enumerate(spoilt.items()):
        some = text[place :: len(spoilt)]
        parts.append(some.with_columns(cell))
        counts[f"dirty:{reason}"] += some.height
    return pl.concat(parts)
