"""After any merges, erasures, imports, refreshes and kills, all that shows users and segments shows the same counts."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from segadmin.events import erase
from segadmin.events.erase import forget
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.settings import Settings, get_settings
from segadmin.snapshots.policy import TimePolicy
from segadmin.storage import api_keys
from segadmin.storage.records import Scope
from tests.conftest import Cli
from tests.planted import LABELS
from tests.properties.counts import Answers, Commands, Pages, Recount, cells, sizes
from tests.properties.test_refresh import Refreshes, keep_users
from tests.servers import web_server

USERS = 30
#: Functions of an erasure at which one is killed.
STEPS = ("erase_in_database", "erase_in_files", "_erase_rows", "count_segments", "_record")


class _Killed(BaseException):
    """The process ended here."""


@dataclass
class Shop:
    """A shop to which random things happen; each of :attr:`changes` is one of them."""

    machine: Refreshes
    random: random.Random
    folder: Path
    imported: int = 0
    changes: dict[str, int] = field(default_factory=dict)  #: name → how often it was made

    def change(self) -> str:
        """Let something happen and return what."""
        often: dict[Callable[[], None], int] = {
            self.import_events: 5,
            self.refresh: 6,
            self.killed_refresh: 3,
            self.merge: 3,
            self.erase: 2,
            self.killed_erasure: 1,
            self.correct: 2,
            self.other: 2,
        }
        [make] = self.random.choices(list(often), list(often.values()))
        usual = [each for each in (self.import_events, self.merge, self.refresh) if each.__name__ not in self.changes]
        if usual:  # no run is without these
            make = usual[0]
        make()
        self.changes[make.__name__] = self.changes.get(make.__name__, 0) + 1
        return make.__name__

    def user(self) -> int:
        return self.random.randrange(USERS + 6)

    def import_events(self) -> None:
        """Import a file with events of some users, and a row that nobody can use."""
        lines = ["user,kind,item,at,price"]
        for _ in range(self.random.randint(1, 12)):
            self.machine.now += timedelta(hours=self.random.randrange(12), microseconds=1)
            at = self.machine.now - timedelta(days=self.random.choice([0, 0, 0, 9]))
            lines.append(f"user-{self.user()},purchase,games-{self.random.randrange(3)},{at.isoformat()},9.5")
        self.imported += 1
        path = self.folder / f"{self.imported}.csv"
        path.write_text("\n".join([*lines, f"user-{self.user()},purchase,games-1,yesterday,1.5"]))
        import_file(self.machine.settings, ImportRequest("events", str(path), Mapping()))

    def refresh(self) -> None:
        policy = self.random.choice(list(TimePolicy))
        self.machine.refresh(policy, None, hysteresis=self.random.random() < 0.3)

    def killed_refresh(self) -> None:
        """Let a refresh be killed before a stage, or after it has published; or let an earlier one go on."""
        if self.machine.half_done and self.random.random() < 0.5:
            self.machine.retry()
        else:
            self.machine.refresh(TimePolicy.EXACT, self.random.choice(["score", "publish", "after"]))

    def merge(self) -> None:
        if self.machine.merges and self.random.random() < 0.3:
            self.machine.undo_a_merge()
        else:
            self.machine.merge(self.user(), self.user())

    def erase(self) -> None:
        self.machine.erase(self.user())

    def killed_erasure(self) -> None:
        """Let an erasure be killed; the next one, of whomever, finishes it."""
        step, user = self.random.choice(STEPS), self.user()

        def die(*_: object, **__: object) -> None:
            raise _Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(erase, step, die)
            with suppress(_Killed):
                forget(self.machine.settings, [f"user-{user}"])
        self.erase()

    def correct(self) -> None:
        if self.random.random() < 0.6:
            self.machine.correct(self.user(), self.random.choice(["low", "mid", "high"]))
        else:
            self.machine.withdraw(self.user())

    def other(self) -> None:
        machine = self.machine
        renamed = lambda: machine.rename_an_item(self.random.choice(["chess", "games 0"]))  # noqa: E731
        canary = lambda: machine.start_canary(0.3, self.random.randrange(4))  # noqa: E731
        self.random.choice([renamed, canary, machine.stop_canary, machine.score, machine.roll_back])()


def compare(recount: Recount, pages: Pages, api: Answers, commands: Commands, chosen: random.Random) -> None:
    """Compare everything for the current snapshot and another one, and the newest 50 totals."""
    current, numbers = recount.current, sorted(recount.published)
    totals = {snapshot: len(recount.members(snapshot)) for snapshot in numbers}
    assert api.totals() == totals
    assert commands.totals() == totals
    assert pages.totals() == {snapshot: totals[snapshot] for snapshot in numbers[-50:]}
    expected = sizes(recount.members(current))
    assert pages.current_sizes() == expected
    assert api.current_sizes() == expected
    assert api.user_ids(current) == commands.user_ids(current)
    for snapshot in dict.fromkeys([current, chosen.choice(numbers)]):
        _compare_snapshot(recount, pages, api, commands, snapshot, chosen)
    if len(numbers) > 1:
        earlier, later = sorted(chosen.sample(numbers[-20:] if chosen.random() < 0.5 else numbers, 2))
        _compare_cells(recount, pages, api, commands, (earlier, later), chosen)
    if recount.users:
        _compare_user(recount, pages, api, chosen.choice(sorted(recount.users)))


def _compare_snapshot(
    recount: Recount, pages: Pages, api: Answers, commands: Commands, snapshot: int, chosen: random.Random
) -> None:
    members = recount.members(snapshot)
    expected = sizes(members)
    assert pages.sizes(snapshot) == expected
    assert api.sizes(snapshot) == expected
    assert commands.sizes(snapshot) == expected
    assert api.members(snapshot) == members
    assert commands.export(snapshot) == members
    if expected:
        segment = chosen.choice(sorted(expected))
        of_segment = {user: name for user, name in members.items() if name == segment}
        assert api.members(snapshot, segment) == of_segment


def _compare_cells(
    recount: Recount, pages: Pages, api: Answers, commands: Commands, pair: tuple[int, int], chosen: random.Random
) -> None:
    before, after = map(recount.members, pair)
    expected = cells(before, after)
    moved = any(cell[0] != cell[1] for cell in expected)
    assert pages.cells(*pair) == (expected if moved else {})
    assert api.cells(*pair) == expected
    assert commands.cells(*pair) == expected
    if not expected:  # everybody who was in them was erased
        return
    cell = chosen.choice(sorted(expected, key=str))
    users = {user for user in {*before, *after} if (before.get(user), after.get(user)) == cell}
    assert commands.moved(*pair, cell) == users


def _compare_user(recount: Recount, pages: Pages, api: Answers, user: str) -> None:
    root = recount.users[user]
    segments = {snapshot: recount.members(snapshot).get(root) for snapshot in recount.published}
    shown, history = api.segments_of(user)
    assert shown == root
    assert history == {snapshot: segment for snapshot, segment in segments.items() if segment is not None}
    if (segment := segments[recount.current]) is not None:
        assert f"{LABELS}: {segment}" in pages.segment_of(user)


@pytest.fixture(scope="module")
def small_home(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop with few users."""
    return keep_users(trained_home, tmp_path_factory.mktemp("counted") / "home", USERS)


@pytest.fixture
def machine(small_home: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Refreshes]:
    """The shop, as :mod:`tests.properties.test_refresh` changes it; commands and the server use its home."""
    assert not settings.root.exists(), "its folder is another one"
    Refreshes.trained = small_home
    machine = Refreshes()
    machine.begin()
    monkeypatch.setenv("SEGADMIN_HOME", str(machine.settings.root))
    get_settings.cache_clear()
    yield machine
    machine.teardown()
    get_settings.cache_clear()


_LONG = [pytest.mark.long, pytest.mark.timeout(3_600)]


#: In the long run 1,000 changes of four shops.
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(18, id="quick"),
        pytest.param(80, marks=[pytest.mark.slow, pytest.mark.timeout(1_200)], id="slow"),
        *(pytest.param(250, marks=_LONG, id=f"shop-{n}") for n in range(4)),
    ],
)
def test_all_counts_agree_after_each_change(machine: Refreshes, cli: Cli, tmp_path: Path, changes: int) -> None:
    """Each run has a seed of its own, which it prints; ``COUNTS_SEED`` repeats one."""
    seed = int(os.environ.get("COUNTS_SEED", random.randrange(10**6)))
    print(f"COUNTS_SEED={seed}")
    shop, chosen = Shop(machine, random.Random(seed), tmp_path), random.Random(seed)
    key = api_keys.create(machine.settings, "counts", Scope.ADMIN)
    with ExitStack() as stack:
        url = stack.enter_context(web_server(machine.settings, SEGADMIN_WEB_REQUESTS_PER_SECOND="0"))
        headers = {"Authorization": f"Bearer {key}"}
        client = stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=60))
        shown = Pages(client), Answers(client), Commands(cli, tmp_path)
        for number in range(changes):
            change = shop.change()
            print(number, change)
            compare(Recount.of(machine.settings.root, LABELS), *shown, chosen)
