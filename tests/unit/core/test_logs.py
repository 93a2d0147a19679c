"""Log lines: what they carry, their two formats, and that no secret is in them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextvars import copy_context
from threading import Thread

import pytest

from segadmin.log_masking import MaskingFilter
from segadmin.logs import FORMATTERS, TRACE, ContextFilter, log_context, set_up_logging
from segadmin.settings import Settings

SECRET = "redis://:hunter2@db/0"
MASKED = "redis://:***@db/0"


class Written:
    """A logger whose lines can be read."""

    def __init__(self, form: str) -> None:
        self._stream = io.StringIO()
        handler = logging.StreamHandler(self._stream)
        handler.setFormatter(FORMATTERS[form]())
        handler.addFilter(ContextFilter())
        handler.addFilter(MaskingFilter())  # what the factory of :func:`mask_logs` does in a process of its own
        self.logger = logging.getLogger(f"tests.logs.{form}")
        self.logger.propagate, self.logger.handlers = False, [handler]
        self.logger.setLevel(logging.INFO)

    @property
    def text(self) -> str:
        return self._stream.getvalue()


@pytest.fixture
def text() -> Written:
    return Written("text")


@pytest.fixture
def jsonl() -> Written:
    return Written("json")


def test_a_line_of_text_ends_with_its_fields(text: Written) -> None:
    with log_context(job=3, stage="score"):
        text.logger.info("step %s", "claimed", extra={"action": "claim", "note": 'two "words"', "rows": 5})
    (line,) = text.text.splitlines()
    time, rest = line.split(" ", 1)
    assert time.endswith("Z")
    assert rest == ('INFO tests.logs.text: step claimed action=claim job=3 stage=score note="two \\"words\\"" rows=5')


@pytest.mark.parametrize("form", sorted(FORMATTERS))
def test_no_message_and_no_field_begins_a_line_of_its_own(form: str) -> None:
    written = Written(form)
    forged = "a\nb\rc\x1b[2Jd\u2028e\x85f"
    written.logger.info(forged, extra={"note": forged})
    assert len(written.text.splitlines()) == 1
    assert "\x1b" not in written.text


def test_a_line_of_json_has_the_same_facts(jsonl: Written) -> None:
    with log_context(job=3, stage="score"):
        jsonl.logger.info("step %s", "claimed\nand more", extra={"action": "claim", "rows": 5, "missing": None})
    (line,) = jsonl.text.splitlines()
    facts = json.loads(line)
    assert facts.pop("time").endswith("Z")
    assert facts == {
        "level": "INFO",
        "logger": "tests.logs.json",
        "message": "step claimed\nand more",
        "action": "claim",
        "job": 3,
        "stage": "score",
        "missing": None,
        "rows": 5,
    }


@pytest.mark.parametrize("form", sorted(FORMATTERS))
def test_secrets_are_masked_wherever_they_are(form: str) -> None:
    written = Written(form)

    def reconnect() -> None:
        raise ConnectionError(f"no answer from {SECRET}")

    with log_context(broker=SECRET):
        try:
            reconnect()
        except ConnectionError:
            written.logger.exception("lost %s", SECRET, extra={"where": [SECRET], TRACE: f"at {SECRET}"})
    assert "hunter2" not in written.text
    assert written.text.count(MASKED) >= 4
    assert "ConnectionError" in written.text
    assert "reconnect" in written.text


@pytest.mark.parametrize(("form", "lines"), [("text", 2), ("json", 1)])
def test_the_calls_that_led_to_an_error_follow_without_what_it_says(form: str, lines: int) -> None:
    written = Written(form)
    written.logger.error("step failed", extra={"reason": "KeyError", TRACE: '  File "a.py", line 3, in f'})
    assert len(written.text.splitlines()) == lines
    assert "a.py" in written.text
    assert f"{TRACE}=" not in written.text
    if form == "json":
        assert json.loads(written.text)["error"] == '  File "a.py", line 3, in f'


def test_contexts_nest_and_end_and_reach_threads_that_take_them(text: Written) -> None:
    log: Callable[[str], None] = text.logger.info
    with log_context(job=1, step=1):
        with log_context(step=2, worker="w"):
            log("inner")
            thread = Thread(target=copy_context().run, args=(log, "thread"))
            thread.start()
            thread.join()
        log("outer")
        text.logger.info("explicit", extra={"job": 9})
    log("none")
    ends = [line.partition(": ")[2] for line in text.text.splitlines()]
    inner = "job=1 step=2 worker=w"
    assert ends == [f"inner {inner}", f"thread {inner}", "outer job=1 step=1", "explicit job=9 step=1", "none"]


@pytest.fixture
def restored_root() -> Iterator[logging.Logger]:
    root, factory = logging.getLogger(), logging.getLogRecordFactory()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    logging.setLogRecordFactory(factory)


def test_logs_are_set_up_by_the_settings(settings: Settings, restored_root: logging.Logger) -> None:
    settings.root.mkdir(parents=True)
    file = settings.root / "own.log"
    for form in ("text", "json"):
        set_up_logging(settings.model_copy(update={"log_format": form}), file=file)
        logging.getLogger("anybody").info("lost %s", SECRET, extra={"where": SECRET})
    assert len(restored_root.handlers) == 1
    first, second = file.read_text().splitlines()
    assert first.endswith(f"INFO anybody: lost {MASKED} where={MASKED}")
    assert json.loads(second)["where"] == json.loads(second)["message"].partition(" ")[2] == MASKED


class Raises:
    """A value that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("not now")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud83d", Raises()])
def test_a_value_that_json_lacks_costs_no_line(value: object, jsonl: Written, text: Written) -> None:
    for written in (jsonl, text):
        written.logger.info("measured", extra={"loss": value})
        written.text.encode()
    assert "NaN" not in jsonl.text
    assert json.loads(jsonl.text)["message"] == "measured"
