"""``/v1/merges``: users who were merged; and ``/v1/profile``: what the store holds."""

from __future__ import annotations

from typing import Annotated

from fastapi import HTTPException, Path, Request

from segadmin.errors import DataError
from segadmin.events.keys import show_key
from segadmin.events.merge import PairState, UserPair, list_merges, merge_users, undo_merge
from segadmin.events.profile import Profile
from segadmin.storage.records import Scope, UserMerge
from segadmin.workflows.profile import latest_profile
from segadmin_api.http.problems import request_errors
from segadmin_api.http.v1.paging import Pages
from segadmin_api.http.v1.routing import allow, changes, router, settings_of
from segadmin_api.schemas.pages import Page
from segadmin_api.schemas.uploads import StoredProfile
from segadmin_api.schemas.users import Merge, MergeRequest

merges = router("/merges", "users")
profile = router("/profile", "imports")
#: Seconds that a request waits for a running import.
WAIT_SECONDS = 10.0
MergeNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of a merge.")]


@merges.get("", dependencies=[allow(Scope.ANALYST)])
def list_all(request: Request, pages: Pages) -> Page[Merge]:
    """List the merges of users, newest first."""
    position = pages.after(int)
    before = None if position is None else position[0]
    rows = list_merges(settings_of(request), limit=pages.limit + 1, before=before)
    return pages.page(rows, shown, lambda row: [row.id])


@merges.post("", status_code=201, dependencies=[allow(Scope.OPERATOR)], responses=changes())
def merge(request: Request, wanted: MergeRequest) -> Merge:
    """Merge a user into another one: events and labels move, and later events of the first belong to the second.

    Two users who were merged before are no error: the answer is that merge.
    """
    pair = UserPair(wanted.old, wanted.new)
    with request_errors(in_body=True):
        [done] = merge_users(settings_of(request), [pair], wait_seconds=WAIT_SECONDS)
        if done.merge is None or done.problem:
            raise DataError(done.problem or "The two are one user already, by other merges.")
    return shown(done.merge).model_copy(update={"created": done.state is PairState.MERGED})


@merges.post("/{number}/undo", dependencies=[allow(Scope.OPERATOR)], responses=changes())
def undo(request: Request, number: MergeNumber) -> Merge:
    """Undo a merge: the first user gets all rows back that came under their id."""
    return shown(undo_merge(settings_of(request), number, wait_seconds=WAIT_SECONDS))


@profile.get("", dependencies=[allow(Scope.VIEWER)])
def show_profile(request: Request) -> StoredProfile:
    """Show what the store holds, as the newest job of the kind `profile` has counted it."""
    stored = latest_profile(settings_of(request))
    if stored is None:
        raise HTTPException(404, "No job has made a profile yet. Make one: segadmin enqueue profile --wait")
    return StoredProfile(job=stored.job_id, at=stored.at, profile=Profile.model_validate(stored.profile))


def shown(row: UserMerge) -> Merge:
    """Return a merge with the users' pseudonyms."""
    facts = row.model_dump(include={"id", "moved", "created_at", "undone_at"})
    return Merge(**facts, state=row.state, old_key=show_key(row.old_key), new_key=show_key(row.new_key))
