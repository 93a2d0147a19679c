from __future__ import annotations

import pytest

from segadmin.errors import BrokerUnavailable
from segadmin.jobs.dispatch import StepMessage
from segadmin.settings import Settings
from segadmin_worker import inspection
from segadmin_worker.client import dispatcher
from tests.servers import redis_server


def test_messages_of_every_priority_are_counted(settings: Settings) -> None:
    with redis_server(settings):
        assert inspection.queue_lengths(settings) == {"cpu": 0, "control": 0, "gpu": 0}
        dispatcher(settings)([StepMessage(number, "score", "gpu", "", number) for number in range(10)])
        assert inspection.queue_lengths(settings) == {"cpu": 0, "control": 0, "gpu": 10}
        assert inspection.workers(settings, seconds=0.2) == {}


def test_a_broker_that_stops_during_a_request_is_unavailable(settings: Settings) -> None:
    with (
        redis_server(settings) as process,
        pytest.raises(BrokerUnavailable, match="does not answer"),
        inspection._connection(settings) as (_, connection),
    ):
        process.kill()
        process.wait()
        inspection._length(connection, "cpu")


def test_a_broker_that_is_down_is_unavailable(settings: Settings) -> None:
    for ask in (inspection.ping, inspection.queue_lengths, inspection.workers):
        with pytest.raises(BrokerUnavailable, match="segadmin up"):
            ask(settings)
