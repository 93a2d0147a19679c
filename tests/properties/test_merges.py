"""After any sequence of imports, merges and undone merges, every user has what came under their ids, each once."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.keys import user_key
from segadmin.events.merge import PairState, UserPair, merge_users, undo_merge
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.lake import Lake

USERS = ["v1", "v2", "c1", "c2"]
_users = st.sampled_from(USERS)
_items = st.sets(st.sampled_from("abcd"), min_size=1)


class Merges(RuleBasedStateMachine):
    """A shop whose visitors become customers, and sometimes not."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.settings = Settings(home=self.folder / "home")
        self.came, self.into = defaultdict[str, set[str]](set), dict[str, tuple[str, int]]()
        self.files = self.merges = 0
        for user in USERS:
            self.events(user, {user}, own_ids=False)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            database.engine(self.settings).dispose()
            shutil.rmtree(self.folder)

    def _root(self, user: str) -> str:
        while user in self.into:
            user = self.into[user][0]
        return user

    def _content(self, root: str) -> set[str]:
        return set().union(*(self.came[user] for user in USERS if self._root(user) == root))

    @rule(user=_users, items=_items, own_ids=st.booleans())
    def events(self, user: str, items: set[str], own_ids: bool) -> None:
        """Import events; those that the person has already are duplicates."""
        self.files += 1
        path = self.folder / f"{self.files}.csv"
        names = {item.upper() if own_ids else item for item in items}
        lines = [f"{user},view,{name},2025-01-01,{name if own_ids else ''}" for name in sorted(names)]
        path.write_text("\n".join(["user,kind,item,at,event_id", *lines, ""]))
        import_file(self.settings, ImportRequest("events", str(path)))
        self.came[user] |= names - self._content(self._root(user))

    @rule(old=_users, new=_users)
    def merge(self, old: str, new: str) -> None:
        possible = old not in self.into and self._root(new) != old
        [done] = merge_users(self.settings, [UserPair(old, new)])
        assert (done.state is PairState.MERGED) == possible
        if possible:
            self.merges += 1
            self.into[old] = (new, self.merges)

    @precondition(lambda self: getattr(self, "into", {}))
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        user = data.draw(st.sampled_from(sorted(self.into)))
        undo_merge(self.settings, self.into.pop(user)[1])

    @invariant()
    def every_user_has_what_came(self) -> None:
        if not hasattr(self, "settings"):
            return
        lake = Lake.of(self.settings)
        stored = lake.scan("events").select("user_key", "item").collect().rows()
        assert len(stored) == len(set(stored))
        keys = {user: user_key(self.settings.secret(), user) for user in USERS}
        roots = {self._root(user) for user in USERS}
        assert set(stored) == {(keys[root], item) for root in roots for item in self._content(root)}
        assert set(lake.scan("users").collect()["user"]) == roots
        came_as = lake.scan("events").filter(pl.col("came_as") == pl.col("user_key")).collect()
        assert came_as.is_empty()


@pytest.mark.parametrize(
    "sequences",
    [
        5,
        pytest.param(25, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
        pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1_800)]),
    ],
)
def test_any_sequence_of_merges_loses_and_doubles_nothing(sequences: int) -> None:
    checks = hypothesis_settings(
        max_examples=sequences,
        derandomize=True,
        stateful_step_count=8,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Merges, settings=checks)
