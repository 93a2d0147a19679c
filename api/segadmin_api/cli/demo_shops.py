"""The shops of the demo: a year of real purchases, read in English, and a synthetic Chinese shop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from segadmin.counts import counted
from segadmin.events.import_request import ImportRequest
from segadmin.events.mapping import Mapping
from segadmin.settings import Language, Settings
from segadmin_api.cli import demo_scale

#: Users of ``--quick``.
QUICK_USERS = 300


class DemoShop(ABC):
    """The data of a demo, its labels, and how much of it is used."""

    language: ClassVar[Language]
    imports: ClassVar[str]  #: pattern of the names of the files that it imports
    importing: ClassVar[str]  #: title of the step that imports
    labelling: ClassVar[str]  #: title of the step that labels
    labels: ClassVar[str]  #: the label set
    user: ClassVar[str]  #: the id of a user
    words: ClassVar[str] = ""  #: options of another ``enqueue retrain``
    options: ClassVar[dict[str, Any]] = {}  #: of the job, at every scale

    def __init__(self) -> None:
        self.users: int | None = None  #: how many are imported; ``None``: all
        self.scaled: dict[str, Any] = {}  #: options of the job at the scale that was chosen

    @abstractmethod
    def scale(self, speed: float) -> str:
        """Choose the scale for a machine that trains on ``speed`` users a second, and explain it in one line."""

    @abstractmethod
    def data(self) -> AbstractContextManager[list[ImportRequest]]:
        """Return a context with the imports; their files are gone afterwards."""

    @abstractmethod
    def label(self, settings: Settings) -> str:
        """Make the label set where the imports did not, and describe it in one line."""


class Grocery(DemoShop):
    """A year of purchases of a grocery chain (Complete Journey)."""

    language = "en"
    imports = r"products\.parquet|transactions\.parquet|completejourney-.*"
    importing = "Importing a year of real purchases"
    labelling = "Labelling households by their spend in the eight weeks after the cut-off"
    labels = "spend3"  # terciles of that spend
    user = "1"

    def scale(self, speed: float) -> str:
        """Choose the households, the epochs and the length of the texts."""
        chosen = demo_scale.choose(speed)
        self.users, self.scaled = chosen.households, chosen.options
        return demo_scale.explain(chosen, speed)

    def data(self) -> AbstractContextManager[list[ImportRequest]]:
        """Return the import of products and purchases."""
        from segadmin_plugins.sources import completejourney

        return completejourney.requests(self.users)

    def label(self, settings: Settings) -> str:
        """Label households by what they spend later."""
        from segadmin.labels.labeling import label
        from segadmin_plugins.sources.completejourney import WEEK_ONE

        label_set = label(settings, self.labels, "future-spend", {"first_week": WEEK_ONE})
        lower, upper = label_set.definition["thresholds"]
        return (
            f"{counted(label_set.rows, 'label')}: low up to {lower:.0f}, mid up to {upper:.0f}, high above. "
            f"Trained on {_days(label_set.definition['train_cuts'])}; "
            f"tested on {_days(label_set.definition['test_cuts'])}."
        )


class ChineseShop(DemoShop):
    """A synthetic shop with Chinese titles, categories and reviews, and with six segments that are known."""

    language = "zh"
    imports = r"items\.parquet|labels\.parquet|(part|dirty)-\d+\.parquet"
    importing = "Generating a Chinese shop, and importing it"
    labelling = "Reading the known segments of its users"
    labels = "planted"
    user = "user-000000001"
    words = " --language zh --split user"
    options: ClassVar[dict[str, Any]] = {"language": "zh", "split": "user"}  # its labels are of one moment

    def scale(self, speed: float) -> str:
        """Choose the number of users."""
        self.users = demo_scale.chinese_users(speed)
        self.scaled = {"backbone_options": {"text_options": "max_tokens=64,epochs=2"}}
        return demo_scale.explain_chinese(self.users, speed)

    @contextmanager
    def data(self) -> Iterator[list[ImportRequest]]:
        """Yield the imports of the generated files."""
        from segadmin.events.generator.shop import Plan
        from segadmin.events.generator.write import write

        users = self.users or demo_scale.CHINESE_USERS[0]
        with TemporaryDirectory() as temporary:
            folder = Path(temporary) / "shop"
            write(Plan(users=users, locale="zh"), folder)
            events = [ImportRequest("events", str(path), Mapping()) for path in sorted((folder / "events").iterdir())]
            items, labels = (str(folder / name) for name in ("items.parquet", "labels.parquet"))
            labelled = ImportRequest("labels", labels, Mapping(), label_set=self.labels)
            yield [ImportRequest("items", items, Mapping()), *events, labelled]

    def label(self, settings: Settings) -> str:
        """Describe the labels, which were imported."""
        from segadmin.labels.label_sets import find_label_set
        from segadmin.storage.database import reading

        with reading(settings) as session:
            label_set = find_label_set(session, self.labels)
        return f"{counted(label_set.rows, 'label')}: {', '.join(label_set.segments)}."


#: By language.
SHOPS: dict[Language, type[DemoShop]] = {"en": Grocery, "zh": ChineseShop}


def _days(moments: list[str]) -> str:
    return ", ".join(moment[:10] for moment in moments)
