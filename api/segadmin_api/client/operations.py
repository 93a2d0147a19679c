"""The methods of both clients, made from :mod:`segadmin_api.client.calls`."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

from pydantic import BaseModel

from segadmin_api.client.call import Call
from segadmin_api.client.calls import (
    data,
    jobs,
    models,
    schedules,
    segments,
    server,
    services,
    snapshots,
    uploads,
    users,
)

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer", bound=BaseModel)


class Sender:
    """Sends calls and returns their answers."""

    @abstractmethod
    def send(self, call: Call[Answer]) -> Answer:
        """Send a call and return its answer."""


class AsyncSender:
    """Sends calls and returns awaitables of their answers."""

    @abstractmethod
    def send(self, call: Call[Answer]) -> Awaitable[Answer]:
        """Send a call; await its answer."""


class Operation(Generic[Arguments, Answer]):
    """A method of both clients: it makes a call and sends it."""

    def __init__(self, make: Callable[Arguments, Call[Answer]]) -> None:
        self.make, self.__doc__ = make, make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Operation[Arguments, Answer]: ...
    @overload
    def __get__(self, client: Sender, owner: type) -> Callable[Arguments, Answer]: ...
    @overload
    def __get__(self, client: AsyncSender, owner: type) -> Callable[Arguments, Awaitable[Answer]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        """Return the method of a client."""
        if client is None:
            return self

        @functools.wraps(self.make)
        def method(*arguments: Arguments.args, **options: Arguments.kwargs) -> Any:
            return client.send(self.make(*arguments, **options))

        return method


class Operations:
    """What can be read and asked for; see the functions of the same names in :mod:`segadmin_api.client.calls`."""

    whoami = Operation(server.whoami)
    list_keys = Operation(server.list_keys)
    create_key = Operation(server.create_key)
    revoke_key = Operation(server.revoke_key)
    list_audit = Operation(server.list_audit)
    list_settings = Operation(server.list_settings)
    run_doctor = Operation(server.run_doctor)
    list_plugins = Operation(server.list_plugins)
    show_plugin = Operation(server.show_plugin)
    check_plugin = Operation(server.check_plugin)
    list_backbones = Operation(server.list_backbones)
    check_backbone = Operation(server.check_backbone)
    list_quarantined_messages = Operation(server.list_quarantined_messages)
    clear_quarantined_messages = Operation(server.clear_quarantined_messages)

    list_jobs = Operation(jobs.list_jobs)
    show_job = Operation(jobs.show_job)
    enqueue = Operation(jobs.enqueue)
    estimate = Operation(jobs.estimate)
    show_job_logs = Operation(jobs.show_job_logs)
    show_trials = Operation(jobs.show_trials)
    cancel_job = Operation(jobs.cancel_job)
    retry_job = Operation(jobs.retry_job)
    cancel_jobs = Operation(jobs.cancel_jobs)
    retry_jobs = Operation(jobs.retry_jobs)

    list_schedules = Operation(schedules.list_schedules)
    show_schedule = Operation(schedules.show_schedule)
    save_schedule = Operation(schedules.save_schedule)
    remove_schedule = Operation(schedules.remove_schedule)
    pause_schedule = Operation(schedules.pause_schedule)
    resume_schedule = Operation(schedules.resume_schedule)
    run_schedule = Operation(schedules.run_schedule)
    list_feeds = Operation(schedules.list_feeds)
    show_feed = Operation(schedules.show_feed)
    add_feed = Operation(schedules.add_feed)
    remove_feed = Operation(schedules.remove_feed)
    deliver_feed = Operation(schedules.deliver_feed)

    list_models = Operation(models.list_models)
    show_model = Operation(models.show_model)
    compare_models = Operation(models.compare_models)
    promote_model = Operation(models.promote_model)
    roll_back_model = Operation(models.roll_back_model)
    list_canaries = Operation(models.list_canaries)
    show_canary = Operation(models.show_canary)
    stop_canary = Operation(models.stop_canary)
    show_model_card = Operation(models.show_model_card)

    list_snapshots = Operation(snapshots.list_snapshots)
    show_snapshot = Operation(snapshots.show_snapshot)
    compare_snapshots = Operation(snapshots.compare_snapshots)
    list_members = Operation(snapshots.list_members)
    export_snapshot = Operation(snapshots.export_snapshot)
    save_export = Operation(snapshots.save_export)
    list_moved_users = Operation(snapshots.list_moved_users)
    list_typical_users = Operation(snapshots.list_typical_users)
    save_report = Operation(snapshots.save_report)
    show_report = Operation(snapshots.show_report)
    show_report_charts = Operation(snapshots.show_report_charts)
    list_drift = Operation(snapshots.list_drift)
    show_drift = Operation(snapshots.show_drift)
    save_drift_page = Operation(snapshots.save_drift_page)

    list_segments = Operation(segments.list_segments)
    show_segment = Operation(segments.show_segment)
    describe_segment = Operation(segments.describe_segment)
    compare_segments = Operation(segments.compare_segments)

    show_user = Operation(users.show_user)
    show_user_text = Operation(users.show_user_text)
    correct_user = Operation(users.correct_user)
    withdraw_correction = Operation(users.withdraw_correction)
    pin_user = Operation(users.pin_user)
    list_corrections = Operation(users.list_corrections)
    list_corrections_of_user = Operation(users.list_corrections_of_user)
    list_user_events = Operation(users.list_user_events)
    list_review = Operation(users.list_review)
    show_erasure = Operation(users.show_erasure)
    erase_user = Operation(users.erase_user)
    list_merges = Operation(users.list_merges)
    merge_users = Operation(users.merge_users)
    undo_merge = Operation(users.undo_merge)

    send_events = Operation(services.send_events)
    score_user = Operation(services.score_user)
    show_user_segment = Operation(services.show_user_segment)

    list_tables = Operation(data.list_tables)
    show_profile = Operation(data.show_profile)
    list_label_sets = Operation(data.list_label_sets)
    show_label_set = Operation(data.show_label_set)
    derive_label_set = Operation(data.derive_label_set)
    list_imports = Operation(data.list_imports)
    show_import = Operation(data.show_import)
    list_quarantine = Operation(data.list_quarantine)
    list_quarantine_reasons = Operation(data.list_quarantine_reasons)
    save_quarantine = Operation(data.save_quarantine)
    retry_quarantine = Operation(data.retry_quarantine)
    drop_quarantine = Operation(data.drop_quarantine)

    upload_file = Operation(uploads.upload_file)
    list_uploads = Operation(uploads.list_uploads)
    show_upload = Operation(uploads.show_upload)
    remove_upload = Operation(uploads.remove_upload)
    preview_upload = Operation(uploads.preview_upload)
    show_upload_preview = Operation(uploads.show_upload_preview)
    import_upload = Operation(uploads.import_upload)
    list_mappings = Operation(uploads.list_mappings)
    save_mapping = Operation(uploads.save_mapping)
    remove_mapping = Operation(uploads.remove_mapping)
