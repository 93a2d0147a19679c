"""Who reads every page in Chinese, and what is still English there."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urldefrag, urlsplit

import httpx

#: Elements whose text is code, or belongs to no reader.
_UNREAD = frozenset({"code", "pre", "script", "style", "textarea", "datalist"})
_EMPTY = frozenset({"input", "meta", "link", "br", "img", "hr", "path", "rect", "circle", "line", "polyline"})
#: Attributes that people read.
_READ = frozenset({"title", "aria-label", "placeholder"})
#: How examples in fields begin, which are typed: of a cron expression, and of who did something.
_EXAMPLES = ("0 3", "key ")
#: Pages of one form that are enough: of users, segments and the like.
_MOST_OF_A_FORM = 4


class ReadPage(HTMLParser):
    """The texts of a page that people read, and where its links lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(values.get("href", ""))
        if values.get("lang", "zh").startswith("zh"):
            self.texts += [values[name] for name in _READ & values.keys() if not values[name].startswith(_EXAMPLES)]
        if tag not in _EMPTY:
            self._open.append("code" if values.get("translate") == "no" or values.get("lang") == "en" else tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _EMPTY:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if data.strip() and not _UNREAD.intersection(self._open):
            self.texts.append(" ".join(data.split()))


def pages(client: httpx.Client, begin: str = "/") -> Iterator[tuple[str, ReadPage]]:
    """Yield the path of every page that links lead to, a few of each form, and what stands on it."""
    waiting, seen, forms = [begin], {begin}, defaultdict[str, int](int)
    while waiting:
        path = waiting.pop(0)
        form = re.sub(r"\d+", "N", re.sub(r"=[^&]*", "=", path))
        form = re.sub(r"^/(users|segments)/[^?]*", r"/\1/X", form)
        forms[form] += 1
        if forms[form] > _MOST_OF_A_FORM:
            continue
        answer = client.get(path)
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        page = ReadPage(answer.text)
        yield path, page
        for link in page.links:
            target = urldefrag(link)[0]
            if urlsplit(target).netloc or not target.startswith("/") or target in seen:
                continue
            if re.search(r"[?&](?:csv|text)=|^/preferences|^/logout|^/v1/", target):  # nor what the model reads
                continue
            seen.add(target)
            waiting.append(target)


#: What is the same in every language: formats, measures, standards, units, authors, this program and its services.
SAME = frozenset(
    """
    adalora al all-minilm-l6-v2 api auc auroc bert bfloat16 biases ca celery cpu cron csv delta e-06 ece english
    excel face float32 flower gib gpu gzip hmac html http https hugging ia3 iana idf int8 iso json jsonl latin
    lightgbm lines links liu localhost log lora mib minilm mlflow multilingual-e5-small nul onnx openvino parquet
    pem png psi pytorch redis rediss rfm runtime segadmin sha256 small sql sqlalchemy sqlite svg tensorboard tf
    tf-idf toml tsv umask unicode url utc utf utf-8 uuid wandb webhook weights zhang zstandard
    """.split()  # noqa: SIM905
)
#: What is typed, and no text: code in texts, commands and their options, variables, values, files, addresses, keys.
_TYPED = re.compile(
    r"`+[^`]*`+|segadmin [a-z][a-z-]* ?[-a-z0-9 _.=/]*|(?<!\w)--?[a-z][a-z-]*|[$]?[A-Z]+(?:_[A-Z]+)+"
    r"|[\w.]+=[^ ，。、；）]+|[a-z]+:/[^ ，。、；）]*|/?(?:[\w*.-]+/)+[\w*.-]+"
    r"|\*?[\w.-]*\.(?:csv|parquet|toml|example|pem|jsonl|db|md|py)\b|\b[0-9a-f]{16,64}\b|\d{4}-\d\d-\d\dT[\d:.+]+"
)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_'.-]{2,}")


def english(text: str, names: frozenset[str]) -> list[str]:
    """Return the English words of a text that are neither the same everywhere nor names (in lower case)."""
    words = _WORD.findall(_TYPED.sub(" ", text))
    return [word for word in words if word.strip(".'-").lower() not in SAME | names]
