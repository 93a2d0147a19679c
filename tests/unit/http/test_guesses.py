"""Whoever guesses keys is slowed down, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from segadmin_api.http.counts import Counts
from segadmin_api.http.guesses import BURST, REFILL_SECONDS, Guesses


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def guess(guesses: Guesses, address: str, key: str) -> int:
    """Give a wrong key, if that is looked at; return the seconds to wait before."""
    wait = guesses.seconds_to_wait(address, key)
    if not wait:
        guesses.wrong(address, key)
    return wait


def test_an_address_may_give_some_wrong_keys_and_then_one_every_few_seconds() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    looked_at = 0
    for second in range(600):
        clock.now += 1.0
        looked_at += sum(not guess(guesses, "192.0.2.1", f"seg_{second:06}{n:02}") for n in range(100))
    assert looked_at == pytest.approx(BURST + 600 / REFILL_SECONDS, abs=1), "of 60,000"
    assert 0 < guesses.seconds_to_wait("192.0.2.1", "seg_another") <= REFILL_SECONDS
    assert guesses.seconds_to_wait("192.0.2.2", "seg_another") == 0


def test_wrong_keys_at_the_same_moment_cost_tokens_in_advance() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    for n in range(40):  # all were looked at before the first was known to be wrong
        guesses.wrong("192.0.2.1", f"seg_{n:08}")
    assert guesses.seconds_to_wait("192.0.2.1", "seg_x") == (40 - BURST + 1) * REFILL_SECONDS
    for n in range(10_000):
        guesses.wrong("192.0.2.1", f"seg_{n:08}+")
    assert guesses.seconds_to_wait("192.0.2.1", "seg_x") < 3600, "the debt is bounded"


def test_one_wrong_key_again_and_again_slows_down_itself_alone() -> None:
    guesses = Guesses(Clock())
    waits = [guess(guesses, "192.0.2.1", "seg_revoked-long-ago") for _ in range(100)]
    assert waits[BURST - 1 : BURST + 1] == [0, REFILL_SECONDS]
    assert guesses.seconds_to_wait("192.0.2.1", "seg_the-new-one") == 0


def test_a_key_that_was_right_is_never_slowed_down_until_it_is_wrong() -> None:
    guesses = Guesses(Clock())
    guesses.right("seg_right")
    for n in range(100):
        guess(guesses, "192.0.2.1", f"seg_{n:08}")
    assert guesses.seconds_to_wait("192.0.2.1", "seg_right") == 0
    guesses.wrong("192.0.2.1", "seg_right")  # it was revoked
    assert guesses.seconds_to_wait("192.0.2.1", "seg_right") > 0


@pytest.mark.parametrize(
    ("client", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("testclient", "testclient", True),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6(client: str, other: str, *, same: bool) -> None:
    guesses = Guesses(Clock())
    for n in range(BURST):
        guesses.wrong(client, f"seg_{n:08}")
    assert bool(guesses.seconds_to_wait(other, "seg_x")) is same


def test_what_is_remembered_is_bounded() -> None:
    guesses = Guesses(Clock())
    for n in range(12_000):
        guesses.wrong(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}", f"seg_{n}")
        guesses.right(f"seg_right_{n}")
    assert all(guesses._counts.size(kind) <= 10_100 for kind in ("right", "address", "beginning"))


def test_processes_that_open_the_same_file_count_together(tmp_path: Path) -> None:
    clock = Clock()
    one, other = (Guesses(clock, Counts(tmp_path / "counts.db")) for _ in range(2))
    one.right("seg_right")
    looked_at = sum(not guess((one, other)[n % 2], "192.0.2.1", f"seg_{n:08}") for n in range(100))
    assert looked_at == BURST
    assert one.seconds_to_wait("192.0.2.1", "seg_x") == other.seconds_to_wait("192.0.2.1", "seg_x") > 0
    assert other.seconds_to_wait("192.0.2.1", "seg_right") == 0
    other.wrong("192.0.2.1", "seg_right")  # it was revoked
    assert one.seconds_to_wait("192.0.2.1", "seg_right") > 0
