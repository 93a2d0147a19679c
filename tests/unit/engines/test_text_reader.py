"""The choice of an engine, and reading with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from segadmin.contracts.engine import Engine, Reader
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import OutOfMemory
from segadmin.ragged import Ragged
from segadmin.settings import Settings
from segadmin_plugins.engines.plain import Plain
from segadmin_plugins.engines.text_reader import TextReader
from segadmin_plugins.engines.trial import AGREEMENT, DIFFERENCE, compared
from tests.unit.engines.test_packed import classifier, texts_of

Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@pytest.fixture
def model(tmp_path: Path) -> Any:
    return classifier("bert", tmp_path)


@pytest.fixture
def many() -> Ragged:
    """Return so many different texts that engines are compared."""
    lengths = np.random.default_rng(0).integers(2, 24, 1600)
    return texts_of(lengths.tolist(), 15)


def with_engine(settings: Settings, tmp_path: Path, body: str) -> Settings:
    """Return settings with a plugin that registers the engine ``other``, which reads with ``body``."""
    file = tmp_path / "other_engine.py"
    file.write_text(
        "import segadmin\nfrom segadmin.contracts.engine import Engine\n"
        "from segadmin_plugins.engines.plain import Plain\n\n"
        "class Other(Engine):\n"
        "    name = 'other'\n"
        "    def precisions(self, device):\n        return ('int8',)\n"
        "    def reader(self, text, pad_id, precision):\n"
        "        plain = Plain().reader(text, pad_id, 'float32')\n"
        f"{body}\n"
        "@segadmin.hookimpl\ndef register_engines():\n    return [Other]\n"
    )
    return settings.model_copy(update={"plugin_files": (file,)})


def test_texts_are_read_as_the_model_reads_them(model: Any, settings: Settings, many: Ragged) -> None:
    expected = np.concatenate([Plain().reader(model, 0, "float32")(many.take(np.array([row]))) for row in range(300)])
    reader, notes = TextReader(model, 0, settings), list[str]()
    logits = reader.logits(many, lambda _fraction, note: notes.append(note))
    assert compared(logits[:300], expected)[1] <= DIFFERENCE  # type: ignore[index]
    assert notes[-1].startswith(f"{len(many.distinct()[0])} of ")
    facts = reader.inference
    assert facts.engine in {"torch", "transformers"}
    assert facts.engine == "transformers" or facts.agreement >= AGREEMENT  # type: ignore[operator]


def test_equal_texts_are_read_once(model: Any, settings: Settings) -> None:
    reader = TextReader(model, 0, settings.model_copy(update={"engine": "transformers"}))
    counts = []
    plain = reader._choice.read
    reader._choice = reader._choice._replace(read=lambda texts: counts.append(len(texts)) or plain(texts))  # type: ignore[func-returns-value]
    rows = [[3, 4, 5], [6], [3, 4, 5], [6], [6]]
    logits = reader.logits(Ragged.from_rows(rows))
    assert sum(counts) == 2
    assert (logits[0] == logits[2]).all()
    assert (logits[1] == logits[4]).all()
    assert not (logits[0] == logits[1]).all()


def test_texts_that_could_change_their_segment_are_read_again_in_float32(
    model: Any, settings: Settings, many: Ragged, tmp_path: Path
) -> None:
    body = (
        "        import numpy as np\n"
        "        def read(texts):\n"
        "            logits = plain(texts)\n"
        "            noise = np.random.default_rng(len(texts)).normal(0, 0.0005, logits.shape)\n"
        "            return (logits + noise).astype(np.float32)\n"
        "        return read\n"
    )
    reader = TextReader(model, 0, with_engine(settings, tmp_path, body).model_copy(update={"engine": "other"}))
    reader._is_checked = reader._is_tried = True
    trial = reader._begin(reader._candidates(), many.take(np.arange(512)), must_be_faster=False)
    assert trial is not None
    assert not reader._try(trial, many)
    assert reader.inference.engine == "other"
    assert 0 < (reader.inference.read_again or 0) < 0.1
    expected = TextReader(model, 0, settings.model_copy(update={"engine": "transformers"})).logits(many)
    noisy = reader._read(many, reader._choice.read)
    assert (noisy.argmax(axis=1) != expected.argmax(axis=1)).any()
    assert (reader.logits(many).argmax(axis=1) == expected.argmax(axis=1)).all()


def test_few_texts_are_read_packed_in_float32_without_a_trial(model: Any, settings: Settings) -> None:
    reader = TextReader(model, 0, settings)
    texts = texts_of([9, 4, 4], 15)
    np.testing.assert_allclose(reader.logits(texts), Plain().reader(model, 0, "float32")(texts), atol=1e-5)
    assert (reader.inference.engine, reader.inference.precision) == ("torch", "float32")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("        return lambda texts: plain(texts)[:, ::-1].copy()", "other in int8: it differs from the model"),
        ("        return lambda texts: plain(texts) * float('nan')", "other in int8: it differs from the model"),
        ("        return lambda texts: plain(texts)[:-1]", "other in int8: it returned the shape ("),
        ("        raise OSError('no such device')", "other in int8: OSError: no such device"),
        (
            "        import time\n        return lambda texts: (time.sleep(1), plain(texts))[1]",
            "other in int8: it is slower",
        ),
    ],
)
def test_an_engine_that_differs_fails_or_is_slower_is_left_aside(
    model: Any, settings: Settings, many: Ragged, tmp_path: Path, body: str, reason: str
) -> None:
    reader = TextReader(model, 0, with_engine(settings, tmp_path, body).model_copy(update={"engine": "other"}))
    reader.logits(many)
    assert reader.inference.engine == "transformers"
    assert any(other.startswith(reason) for other in reader.inference.left_aside)


#: Faster than any other engine where it read the same texts before, as it did when it was timed the second time.
REMEMBERS = (
    "        known = {}\n"
    "        def read(texts):\n"
    "            key = texts.values.tobytes()\n"
    "            if key not in known:\n                known[key] = plain(texts)\n"
    "            return known[key]\n"
    "        return read\n"
    "    def tokens_at_once(self, text):\n        return 1_000_000\n"
)


def test_a_faster_engine_that_agrees_is_used(model: Any, settings: Settings, many: Ragged, tmp_path: Path) -> None:
    chosen = with_engine(settings, tmp_path, REMEMBERS).model_copy(update={"engine": "other"})
    reader = TextReader(model, 0, chosen)
    logits = reader.logits(texts_of([5, 3], 15))
    assert (reader.inference.engine, reader.inference.precision) == ("other", "int8")
    np.testing.assert_allclose(logits, Plain().reader(model, 0, "float32")(texts_of([5, 3], 15)), atol=1e-6)


def test_other_engines_are_tried_when_reading_takes_much_longer_than_the_trial(
    model: Any, settings: Settings, many: Ragged, tmp_path: Path
) -> None:
    reader = TextReader(model, 0, with_engine(settings, tmp_path, REMEMBERS))
    reader.logits(many)
    left_aside = reader.inference.left_aside
    assert "other in int8: too few texts to try it" in left_aside
    assert "onnxruntime in float32: too few texts to try it" in left_aside
    assert not any(reason.startswith("torch") and "too few" in reason for reason in left_aside)
    reader._seconds = 3600.0  # of reading
    reader.logits(many.take(np.arange(500)))
    assert reader.inference.left_aside == left_aside
    reader.logits(many)
    assert (reader.inference.engine, reader.inference.precision) == ("other", "int8")
    assert not any("too few" in reason for reason in reader.inference.left_aside)


def test_an_engine_that_was_asked_for_and_is_not_installed_is_left_aside(
    model: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segadmin_plugins.engines.openvino.find_spec", lambda _: None)
    reader = TextReader(model, 0, settings.model_copy(update={"engine": "openvino"}))
    texts = texts_of([9, 4], 15)
    np.testing.assert_array_equal(reader.logits(texts), Plain().reader(model, 0, "float32")(texts))
    assert reader.inference.engine == "transformers"
    reason = "openvino in float32: it is not installed: pip install 'segadmin[openvino]'"
    assert reader.inference.left_aside == (reason,)


def test_a_device_that_no_engine_supports_is_read_by_the_model_itself(
    model: Any, settings: Settings, many: Ragged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)  # no bfloat16, as on older GPUs
    reader = TextReader(model, 0, settings)
    reader._device = "cuda"
    assert reader.logits(many).shape == (len(many), 3)
    assert reader.inference.engine == "transformers"


def test_an_engine_that_does_not_exist_is_named(model: Any, settings: Settings) -> None:
    reader = TextReader(model, 0, settings.model_copy(update={"engine": "torsh"}))
    with pytest.raises(Exception, match=r"no engine 'torsh'. Did you mean 'torch'"):
        reader.logits(texts_of([5], 15))


def test_batches_shrink_until_they_fit_in_memory(model: Any, settings: Settings) -> None:
    reader = TextReader(model, 0, settings.model_copy(update={"engine": "transformers"}))
    plain, sizes = reader._choice.read, []

    def short_of_memory(texts: Ragged) -> NDArray[np.float32]:
        sizes.append(len(texts.values))
        if len(texts.values) > 100:
            raise MemoryError
        return plain(texts)

    reader._choice = reader._choice._replace(read=short_of_memory)
    texts = texts_of([20] * 30, 15)
    np.testing.assert_allclose(reader.logits(texts), plain(texts), atol=1e-5)
    assert sizes[:4] == [600, 300, 140, 60]
    assert "do not fit in memory" in reader.remark


def test_a_text_that_does_not_fit_in_memory_alone(model: Any, settings: Settings) -> None:
    reader = TextReader(model, 0, settings.model_copy(update={"engine": "transformers"}))

    def no_memory(_: Ragged) -> NDArray[np.float32]:
        raise MemoryError

    reader._choice = reader._choice._replace(read=no_memory)
    with pytest.raises(OutOfMemory, match="max_tokens=64"):
        reader.logits(texts_of([20], 15))


def test_comparing_logits() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 2.0]], np.float32)
    assert compared(logits, logits) == (1.0, 0.0, 0.0)
    swapped = compared(logits[:, ::-1], logits)
    assert swapped == (1.0, pytest.approx(0.761594), 1.0)
    shifted = compared(np.array([[2.0, 0.0], [0.01, 0.0]], np.float32), np.array([[2.0, 0.0], [0.0, 0.01]], np.float32))
    assert shifted is not None
    assert (shifted.agreement, shifted.read_again) == (1.0, 0.5)
    assert compared(logits[:, :1], logits[:, :1]) == (1.0, 0.0, 0.0)
    assert compared(logits[:1], logits) is None
    assert compared(logits * np.nan, logits) is None


def test_engines_are_plugins(settings: Settings) -> None:
    assert load_plugins(settings).names("engine") == ["onnxruntime", "openvino", "torch", "transformers"]


@dataclass(frozen=True)
class _Defaults(Engine):
    name: ClassVar[str] = "defaults"

    def precisions(self, device: str) -> tuple[str, ...]:
        return (device,)

    def reader(self, text: Any, pad_id: int, precision: str) -> Reader:
        raise NotImplementedError


def test_an_engine_reads_some_thousand_tokens_at_once_by_default() -> None:
    assert _Defaults().tokens_at_once(None) == 4096


def test_while_a_thread_compares_engines_another_reads_with_the_engine_before(
    model: Any, many: Ragged, settings: Settings
) -> None:
    reader = TextReader(model, 0, settings)
    expected = reader.logits(many.take(np.arange(20)))
    with reader._choosing:  # as a thread that compares does
        assert np.array_equal(reader.logits(many.take(np.arange(20))), expected)
        assert not reader._is_tried
        reader.logits(many)
        assert not reader._is_tried
