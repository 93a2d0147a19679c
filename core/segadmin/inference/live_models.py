"""The models that answer requests: each is loaded before it answers, and the one before it answers meanwhile.

These are the champions and, while a canary is running, the challenger: it answers for the users of the canary.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.textualizer import Textualizer
from segadmin.errors import ConfigurationError, PluginError, SegadminError
from segadmin.inference.live_items import LiveItems
from segadmin.inference.predictor import Predictor, load_predictor
from segadmin.models.canary import CanaryShare, running_canary
from segadmin.models.versions import champions, find_version
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelState, ModelVersion
from segadmin.text.item_words import item_words
from segadmin.text.sample import sample_users

log = logging.getLogger(__name__)
#: Seconds until a champion that could not be loaded is loaded again, and until champions are looked up again.
_RETRY, _LOOK = 30.0, 1.0
#: Users of the shop whom a model reads before it answers many: so many that engines are compared on their texts.
_TRIED_ON = 1024


class ModelIsLoading(SegadminError):
    """The first champion of a label set is being loaded."""


@dataclass(frozen=True)
class LiveModel:
    """A model version that is loaded, with what reads events for it."""

    version: ModelVersion
    predictor: Predictor
    textualizer: Textualizer
    words: LiveItems | None = None  #: the words of items, with a modality

    @classmethod
    def load(cls, settings: Settings, version: ModelVersion) -> LiveModel:
        """Load a version.

        Raises:
            StorageError: its folder is missing or damaged.
            PluginNotFound: its backbone or its textualizer is not installed.
        """
        plugins = load_plugins(settings)
        predictor = load_predictor(settings, plugins, version)
        recipe = predictor.manifest.recipe
        textualizer = plugins.make("textualizer", recipe.textualizer, recipe.textualizer_options)
        if recipe.modality is None:
            return cls(version, predictor, textualizer)

        def words(lake: Lake) -> pl.DataFrame:
            read = item_words(plugins, lake, recipe)
            assert read is not None, "the recipe has a modality"
            return read

        return cls(version, predictor, textualizer, LiveItems(settings, "item_vectors", words))


def champion(settings: Settings, label_set: str | None = None) -> ModelVersion:
    """Return the model version that scores users of a label set.

    Raises:
        DataError: there is none yet.
        ConfigurationError: there is none of this label set, or there are several and none was named.
    """
    with reading(settings) as session:
        version = find_version(session, "champion", label_set)
    if version.state == ModelState.PRETRAINED:
        raise ConfigurationError(f"Model version {version.id} is pretrained only and knows no segments.")
    return version


def _beside(settings: Settings, version: ModelVersion) -> _InUse:
    """Return the champion ``version``, and the challenger that scores users beside it, if there is one."""
    with reading(settings) as session:
        canary = running_canary(session, version.label_set)
        if canary is None or canary.champion_id != version.id:
            return _InUse(version)
        return _InUse(version, session.get_one(ModelVersion, canary.challenger_id), CanaryShare.of(canary))


@dataclass(frozen=True)
class _InUse:
    """The versions that score users of a label set."""

    champion: ModelVersion
    challenger: ModelVersion | None = None
    share: CanaryShare | None = None  #: the users of the challenger


#: A label set, and whether it is the model of its canary.
_Place = tuple[str, bool]


class LiveModels:
    """The loaded models by label set. Methods may be called from several threads and do not wait for a model."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._live: dict[_Place, LiveModel] = {}
        self._looked_up: dict[str | None, tuple[float, _InUse]] = {}  #: label set → when, and what was found
        self._loading: set[int] = set()
        self._failed: dict[int, tuple[float, Exception]] = {}  #: version → when, and why

    def find(self, label_set: str | None = None, user_key: int | None = None) -> LiveModel:
        """Return the model of a user: the champion of a label set, or the one before it while the champion is loaded.

        For users of a canary it is the challenger; while that is loaded, or if it cannot be, the champion.
        A promotion is seen within a second.

        Raises:
            ModelIsLoading: there is none before it.
            DataError: there is no champion yet.
            ConfigurationError: there is none of this label set, or there are several and none was named.
            StorageError: the champion's folder is missing or damaged, and there is none before it.
            PluginError: its backbone or its textualizer is not installed, or fails, and there is none before it.
        """
        in_use = self._in_use(label_set)
        name, challenger = in_use.champion.label_set, in_use.challenger
        if challenger is not None and in_use.share is not None and user_key is not None and in_use.share.has(user_key):
            with contextlib.suppress(SegadminError):  # loading logs it
                live = self._loaded(challenger, (name, True))
                if live.version.id == challenger.id:
                    return live
        return self._loaded(in_use.champion, (name, False))

    def _loaded(self, version: ModelVersion, place: _Place) -> LiveModel:
        """Return a version, or what is in its place while it is loaded; begin to load it if nobody does."""
        number = version.id or 0
        with self._lock:
            live = self._live.get(place)
            if live is not None and live.version.id == number:
                return live
            since, error = self._failed.get(number, (0.0, None))
            if error is not None and time.monotonic() - since < _RETRY:
                if live is None:
                    raise error
            elif number not in self._loading:
                self._loading.add(number)
                arguments = (version, place)
                threading.Thread(target=self._load, args=arguments, name=f"load-model-{number}", daemon=True).start()
        if live is None:
            raise ModelIsLoading(f"Model version {number} is being loaded. Try again in some seconds.")
        return live

    def _in_use(self, label_set: str | None) -> _InUse:
        """Return the versions, looked up now or in the last second: requests come faster, and SQL takes its time."""
        looked_up, in_use = self._looked_up.get(label_set, (0.0, None))
        if in_use is None or time.monotonic() - looked_up > _LOOK:
            looked_up, in_use = time.monotonic(), _beside(self._settings, champion(self._settings, label_set))
            self._looked_up[label_set] = looked_up, in_use  # only of label sets that exist
            if in_use.challenger is None:
                with self._lock:
                    self._live.pop((in_use.champion.label_set, True), None)
        return in_use

    def warm_up(self) -> None:
        """Begin to load the champions of all label sets, and the models of canaries."""
        with reading(self._settings) as session:
            label_sets = list(champions(session))
        for label_set in label_sets:
            with contextlib.suppress(SegadminError):  # loading logs it, and requests report it
                self.find(label_set)
            challenger = self._in_use(label_set).challenger
            with contextlib.suppress(SegadminError):
                if challenger is not None:
                    self._loaded(challenger, (label_set, True))

    def _load(self, version: ModelVersion, place: _Place) -> None:
        number, began = version.id or 0, time.monotonic()
        try:
            model = LiveModel.load(self._settings, version)
            if place not in self._live:
                self._publish(model, place)
            # Where another champion answers meanwhile, the new one does not answer before its engine is chosen.
            self._choose_engine(model)
            self._publish(model, place)
            seconds = round(time.monotonic() - began, 1)
            log.info("model %d is live", number, extra={"action": "live", "seconds": seconds})
        except Exception as error:
            log.exception("model %d cannot be used", number, extra={"action": "live"})
            with self._lock:
                self._failed[number] = time.monotonic(), error
                if (live := self._live.get(place)) is not None and live.version.id == number:
                    del self._live[place]
        finally:
            with self._lock:
                self._loading.discard(number)

    def _publish(self, model: LiveModel, place: _Place) -> None:
        with self._lock:
            self._live[place] = model
            self._failed.pop(model.version.id or 0, None)

    def _choose_engine(self, model: LiveModel) -> None:
        """Let the model read users of the shop, so that it compares its engines and knows the shop's phrases."""
        try:
            users = self._some_users(model)
            if users.height:
                model.predictor.segment(users)
        except PluginError:  # the model itself is at fault: its weights are not finite, say
            raise
        except Exception:  # it can answer without
            log.warning("the engine of model %s was not chosen", model.version.id, exc_info=True)

    def _some_users(self, model: LiveModel) -> pl.DataFrame:
        lake, recipe = Lake.of(self._settings), model.predictor.manifest.recipe
        window, plugins = recipe.window(lake.latest_event or datetime.now(UTC)), load_plugins(self._settings)
        buckets = self._settings.buckets
        return sample_users(lake, buckets, window, recipe, _TRIED_ON, plugins=plugins, textualizer=model.textualizer)
