"""Generation of the log in blocks of users, each with its own seed, so that memory is bounded by one block."""

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

#: Number of users of a block.
BLOCK_USERS = 5_000
#: Number of events of a bot, all on one day; far more than those of a person.
BOT_EVENTS = 2_500
_MICROSECONDS = 1_000_000


class Plan(BaseModel):
    """The parameters of synthetic data; the same plan generates the same bytes."""

    model_config = ConfigDict(frozen=True)

    users: int = Field(ge=1)
    days: int = Field(default=120, ge=1, le=3_650)
    locale: Language = "en"
    seed: int = Field(default=0, ge=0)
    items: int = Field(default=2_000, ge=len(CATEGORIES["en"]))
    until: AwareDatetime = datetime(2026, 1, 1, tzinfo=UTC)  #: end of the log
    drift_day: int | None = Field(default=None, ge=1)  #: from this day on some users are in another segment
    drift_share: float = Field(default=0.2, ge=0.0, le=1.0)
    cold_share: float = Field(default=0.05, ge=0.0, le=1.0)  #: users with one to three events
    bot_share: float = Field(default=0.001, ge=0.0, le=1.0)
    duplicate_share: float = Field(default=0.002, ge=0.0, le=1.0)  #: duplicated rows
    dirty_share: float = Field(default=0.002, ge=0.0, le=1.0)  #: unusable rows, in addition to the usable ones
    return_share: float = Field(default=0.03, ge=0.0, le=1.0)  #: purchases that are returned

    @property
    def since(self) -> datetime:
        """Start of the log."""
        return self.until - timedelta(days=self.days)

    @property
    def blocks(self) -> int:
        """Number of blocks of users."""
        return -(-self.users // BLOCK_USERS)


@dataclass(frozen=True)
class Block:
    """The users of one block."""

    events: pl.DataFrame
    dirty: pl.DataFrame  #: unusable rows, all columns as text
    truth: pl.DataFrame
    counts: Counter[str]  #: duplicates, bot_events and dirty:REASON


def catalogue(plan: Plan) -> pl.DataFrame:
    """Return the items (item, title, category, brand, price), sorted by category and ascending price."""
    random = np.random.default_rng([plan.seed, 0])
    categories = CATEGORIES[plan.locale]
    category_of = np.sort(np.arange(plan.items) % len(categories))
    medians = np.array([median for _, median, _ in categories])
    price = np.round(medians[category_of] * random.lognormal(0.0, 0.8, plan.items), 2)
    order = np.lexsort((price, category_of))
    gap = "" if plan.locale == "zh" else " "
    titles = [
        gap.join((BRANDS[plan.locale][brand], STYLES[plan.locale][style], categories[category][2][noun]))
        for category, brand, style, noun in zip(
            category_of, *(random.integers(0, size, plan.items) for size in (8, 8, 5)), strict=True
        )
    ]
    return pl.DataFrame(
        {
            "item": [f"{100_000 + n}" for n in range(plan.items)],
            "title": titles,
            "category": [categories[category][0] for category in category_of],
            "brand": [title.split(gap)[0] if gap else title[:2] for title in titles],
            "price": price[order],
        }
    )


def make(plan: Plan, number: int, items: pl.DataFrame) -> Block:
    """Return block ``number`` (from 0) of the plan; blocks are independent of each other."""
    random = np.random.default_rng([plan.seed, 1, number])
    first = number * BLOCK_USERS
    users = min(BLOCK_USERS, plan.users - first)
    truth = _truth(plan, random, first, users)
    events = _events(plan, random, truth, items)
    events = events.with_columns(event_id=pl.format("{}-{}", pl.lit(number), pl.int_range(pl.len())))
    counts = Counter({"bot_events": int(truth["is_bot"].sum()) * BOT_EVENTS})
    people = events.filter(~pl.col("bot")).drop("bot")
    duplicates = people.filter(random.random(people.height) < plan.duplicate_share)
    counts["duplicates"] = duplicates.height
    dirty = _dirty(people.filter(random.random(people.height) < plan.dirty_share), counts)
    rows = pl.concat([events.drop("bot"), duplicates]).sort("at", maintain_order=True)
    return Block(rows, dirty, truth.drop("segment_index", "later_index", "count"), counts)


def _truth(plan: Plan, random: np.random.Generator, first: int, users: int) -> pl.DataFrame:
    shares = np.array([segment.share for segment in SEGMENTS])
    segment_index = random.choice(len(SEGMENTS), users, p=shares / shares.sum())
    drifts = (random.random(users) < plan.drift_share) & (plan.drift_day is not None)
    later_index = np.where(
        drifts, (segment_index + random.integers(1, len(SEGMENTS), users)) % len(SEGMENTS), segment_index
    )
    bot = random.random(users) < plan.bot_share
    cold = ~bot & (random.random(users) < plan.cold_share)
    daily = np.array([segment.daily for segment in SEGMENTS])[segment_index] * random.gamma(3.0, 1 / 3.0, users)
    count = np.where(cold, random.integers(1, 4, users), 1 + random.poisson(daily * plan.days))
    names = np.array([segment.name for segment in SEGMENTS])
    return pl.DataFrame(
        {
            "user": [f"user-{first + n:09}" for n in range(users)],
            "segment": names[segment_index],
            "segment_after_drift": names[later_index],
            "drift_day": [plan.drift_day if drift else None for drift in drifts],
            "is_bot": bot,
            "is_cold": cold,
            "segment_index": segment_index,
            "later_index": later_index,
            "count": np.where(bot, BOT_EVENTS, count),
        }
    )


def _events(plan: Plan, random: np.random.Generator, truth: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    row = np.repeat(np.arange(truth.height), truth["count"].to_numpy())
    size = len(row)
    bot = truth["is_bot"].to_numpy()[row]
    day = _days(plan, random, truth, row)
    after = (plan.drift_day is not None) & (day >= (plan.drift_day or 0))
    segment_index = np.where(after, truth["later_index"].to_numpy()[row], truth["segment_index"].to_numpy()[row])
    kind = np.where(bot, 0, _draw(random, [segment.kinds for segment in SEGMENTS], segment_index))
    item = _items(plan, random, segment_index)
    hour = np.array([segment.hour for segment in SEGMENTS])[segment_index] + random.normal(0.0, 3.0, size)
    seconds = np.where(bot, random.random(size) * 86_400, (hour % 24.0) * 3_600)
    stars = np.array([segment.stars for segment in SEGMENTS])[segment_index] + random.normal(0.0, 0.9, size)
    stars = np.clip(np.round(stars), 1, 5)
    bought, viewed, rated, reviewed = kind == 2, kind == 0, kind >= 3, kind == 4
    returned = bought & (random.random(size) < plan.return_share)
    quantity = np.where(bought, 1.0 + random.poisson(0.3, size), np.nan)
    review = 4 * np.where(stars <= 2, 0, np.where(stars == 3, 1, 2)) + random.integers(0, 4, size)
    phrases = pl.Series([phrase for texts in REVIEWS[plan.locale] for phrase in texts])
    microseconds = (day * 86_400 + seconds) * _MICROSECONDS
    start = int(plan.since.timestamp() * _MICROSECONDS)
    return pl.DataFrame(
        {
            "user": truth["user"].gather(row),
            "kind": pl.Series([*KINDS, "return"]).gather(np.where(returned, len(KINDS), kind)),
            "item": items["item"].gather(item),
            "at": pl.Series(start + microseconds.astype(np.int64)).cast(TIME),
            "quantity": quantity,
            "price": np.where(bought, np.round(items["price"].to_numpy()[item] * np.nan_to_num(quantity), 2), np.nan),
            "duration": np.where(viewed, np.round(random.exponential(90.0, size), 1), np.nan),
            "rating": np.where(rated, stars, np.nan),
            "text": phrases.gather(pl.select(pl.when(pl.Series(reviewed)).then(pl.Series(review))).to_series()),
            "bot": bot,
        },
        nan_to_null=True,
    )


def _days(plan: Plan, random: np.random.Generator, truth: pl.DataFrame, row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the day of each event: lapsing users have no late events, and bots have all events on one day."""
    ends = np.array([segment.ends for segment in SEGMENTS])
    last = np.maximum(1, plan.days * ends[truth["later_index"].to_numpy()][row]).astype(np.int64)
    day = (random.random(len(row)) * last).astype(np.int64)
    bot_day = random.integers(0, plan.days, truth.height)[row]
    return np.where(truth["is_bot"].to_numpy()[row], bot_day, day)


def _items(plan: Plan, random: np.random.Generator, segment_index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the item index of each event: by the segment's weights of categories, and by its price preference."""
    category = _draw(random, [segment.categories for segment in SEGMENTS], segment_index)
    category_of = np.sort(np.arange(plan.items) % len(CATEGORIES[plan.locale]))
    start = np.searchsorted(category_of, np.arange(len(CATEGORIES[plan.locale]) + 1))
    preference = np.array([segment.price_preference for segment in SEGMENTS])[segment_index]
    position = random.random(len(segment_index)) ** (1.0 / preference)
    return (start[category] + position * (start[category + 1] - start[category])).astype(np.int64)


def _draw(random: np.random.Generator, weights: Any, segment_index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a random choice for each event, by the weights of its segment."""
    table = np.array(weights, dtype=float)
    cumulative = np.cumsum(table / table.sum(axis=1, keepdims=True), axis=1)[:, :-1]
    drawn = random.random(len(segment_index))
    choice = np.zeros(len(segment_index), np.int64)
    for column in cumulative.T:
        choice += drawn >= column[segment_index]
    return choice


def _dirty(rows: pl.DataFrame, counts: Counter[str]) -> pl.DataFrame:
    """Return rows as text, each with one error; count them by the expected reason for quarantine."""
    errors = {
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
    for index, (reason, cell) in enumerate(errors.items()):
        part = text[index :: len(errors)]
        parts.append(part.with_columns(cell))
        counts[f"dirty:{reason}"] += part.height
    return pl.concat(parts)
