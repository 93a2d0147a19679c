"""Passwords in URLs: masked wherever they show, refused where they would be kept, read from the environment."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segadmin.errors import ConfigurationError
from segadmin.urls import (
    fill_in,
    fill_in_options,
    has_secret,
    mask_all,
    mask_secrets,
    mask_url,
    replace_secrets,
    url_problem,
)
from tests.commands import CommandServer


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:hidden@mlflow.example/x", "https://me:***@mlflow.example/x"),
        ("redis://:hid@den@broker:6379/0", "redis://:***@broker:6379/0"),
        ("redis://:hid/den@broker:6379/0", "redis://:***@broker:6379/0"),
        ("redis://:hid#den?@broker:6379/0", "redis://:***@broker:6379/0"),
        ("redis://:hidden", "redis://:***"),
        ("https://hidden@git.example/x", "https://***@git.example/x"),
        ("s3://AKIA:hidden@bucket/table", "s3://AKIA:***@bucket/table"),
        (
            "{'uri': 'http://bob:s3cret@mlflow', 'to': 'a@b.example'}",
            "{'uri': 'http://bob:***@mlflow', 'to': 'a@b.example'}",
        ),
        ("('postgresql://shop:s3'cret@db/x') is bad", "('postgresql://shop:***@db/x') is bad"),
        (
            "postgresql://db/x?sslmode=require&password=hid'den&token=t.1.",
            "postgresql://db/x?sslmode=require&password=***&token=***.",
        ),
        (
            "cannot read 'https://shop.example/e.csv?sig=a%2Fb' (403).",
            "cannot read 'https://shop.example/e.csv?sig=***' (403).",
        ),
        ("host=db user=shop password=hidden dbname=x", "host=db user=shop password=*** dbname=x"),
        ("GET /jobs/seg_5fKd8-QWk2nXs9_1vLz0 HTTP/1.1", "GET /jobs/seg_*** HTTP/1.1"),
        ("POST /v1/events%3Fkey%3Dseg_5fKd8-QWk2nXs9_1vLz0 HTTP/1.1", "POST /v1/events%3Fkey%3Dseg_*** HTTP/1.1"),
        ("https://h/e?pass=hidden&sas=hidden&code=hidden", "https://h/e?pass=***&sas=***&code=***"),
        ("https://h/cb#access_token=hidden&n=1", "https://h/cb#access_token=***&n=1"),
        ("snowflake://me@acme/db?passcode=hidden", "snowflake://me@acme/db?passcode=***"),
        ("AccountName=shop;AccountKey=hidden==;x", "AccountName=shop;AccountKey=***"),
        ("aws_secret_access_key=hidden is wrong", "aws_secret_access_key=*** is wrong"),
        ('{"api_key": "hidden", "n": 1}', '{"api_key": ***, "n": 1}'),
        ("Authorization: Basic aGlkZGVuOng=", "Authorization: Basic ***"),
        ("{'Authorization': 'Bearer hidden.hidden'}", "{'Authorization': 'Bearer ***'}"),
        ("connect(**{'user': 'shop', 'password': 'hidden'})", "connect(**{'user': 'shop', 'password': ***})"),
    ],
)
def test_secrets_are_masked(text: str, shown: str) -> None:
    assert mask_secrets(text) == shown
    assert mask_secrets(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////tmp/a@b.db",
        "redis+socket:///run/a:b@c/redis.sock",
        "postgresql://reader:$SHOP_PASSWORD@db/shop",
        "postgresql://reader:${SHOP_PASSWORD}@db/shop?token=$TOKEN",
        "postgresql://shop@db/x",
        "http://127.0.0.1:8000: it is taken",
        "http://[::1]:8000/jobs",
        "https://example.com/@someone and me@example.com",
        "Use postgresql://user:password@host/name.",
        "The password of a key: segadmin keys create me --pages",
        "s3://bucket/a@b/events",
        "step 3 has token=7; pass=4 of epochs=6, key=value, the bearer of news",
        "x.password = 3; passwords: none",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_secrets(text) == text


LONG = [
    *("x", "a.", "1", "é", "=", "&", ";", "?", "%", "user:", "a://", "://", "http://[", "a://u:p ", "${a", "seg_", "-"),
    *("#a", "a-", "a_", "access_", "api-", "bearer ", "authorization:"),
    *("?a=", "?key", "?key=${A}", "?key=.,", "pwd='", "'password': ", "?secret;", "['a', "),
]
#: What comes before and after the long part, so that a pattern begins to match, or nearly does.
AROUND = [("", ""), ("http://", "@h"), ("?key=", "x"), ("?", "=")]
MASKS = """
import sys
from segadmin.urls import has_secret, mask_secrets, mask_url, url_problem

part = sys.argv[1]
for before, after in {around}:
    text = before + part * (200_000 // len(part)) + after
    for function in (mask_secrets, mask_url, has_secret, url_problem):
        function(text)
"""


@pytest.mark.parametrize("part", LONG)
def test_a_long_text_takes_a_time_linear_in_its_length(part: str, commands: CommandServer) -> None:
    # In quadratic time it would be 10¹⁰ steps: minutes on every machine, instead of a fraction of a second.
    commands.python(MASKS.format(around=AROUND), part, timeout=20).check_returncode()


def test_what_stands_before_a_scheme_stays() -> None:
    assert mask_secrets("1http://hidden@h/x ...redis://u:hidden@h") == "1http://***@h/x ...redis://u:***@h"
    assert (
        mask_secrets("?a=1?b;token=x;y&c=2&token= ?key=${A}b?pwd=c") == "?a=1?b;token=***&c=2&token= ?key=${A}b?pwd=***"
    )


def test_a_whole_url_may_have_a_space_in_its_password() -> None:
    assert mask_url("postgresql://shop:my s3cret@db/x") == "postgresql://shop:***@db/x"
    options = {"where": "redis://:a b@h/0", "source_options": {"query": "x"}, "also": ["http://u:p@h", 3, None]}
    assert mask_all(options) == {
        "where": "redis://:***@h/0",
        "source_options": {"query": "x"},
        "also": ["http://u:***@h", 3, None],
    }
    options = {"password": "x", "token": 3, "hf_token": "x", "tokenizer": "x", "key": "x", "api_key": "$KEY", "pwd": ""}
    assert mask_all([options]) == [{**options, "password": "***", "hf_token": "***"}]
    mapping = {"kinds": {"forgot_password": "ignore"}, "source": {"options": {"password": "x"}}}
    masked = mask_all({"options": {"mapping": mapping}})
    assert masked == {"options": {"mapping": {**mapping, "source": {"options": {"password": "***"}}}}}
    assert replace_secrets([options, masked], lambda path, text, shown: (path, text, shown)) == [
        {**options, "password": (("password",), "x", "***"), "hf_token": (("hf_token",), "x", "***")},
        masked,
    ]


#: No letter of it stands in the rest of the URL, so each one that shows is a leak.
SECRETS = st.text(st.sampled_from("XYZQ79@:/?#&=%$[]'\"<>;,|"), min_size=6, max_size=20).filter(
    lambda secret: sum(sign.isalnum() for sign in secret) > 4
)


@given(SECRETS, st.sampled_from(["postgresql", "redis", "mysql+pymysql", "s3", "https"]))
def test_no_letter_of_a_password_shows_however_it_is_written(secret: str, scheme: str) -> None:
    for password in (secret, quote(secret, safe="")):
        for masked in (mask_url(f"{scheme}://shop:{password}@db/x"), mask_secrets(f"{scheme}://shop:{password}@db/x")):
            assert not set("XYZQ79") & set(masked.removeprefix(scheme)), masked
        assert has_secret(f"{scheme}://shop:{password}@db/x")


@given(SECRETS)
def test_a_url_that_is_accepted_is_read_as_it_is_meant(secret: str) -> None:
    url = f"redis://shop:{secret}@broker:6379/0"
    if url_problem(url) is None:
        assert (urlsplit(url).hostname, urlsplit(url).port) == ("broker", 6379)
    assert url_problem(f"redis://shop:{quote(secret, safe='')}@broker:6379/0") is None


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("nonsense", "not a URL"),
        ("redis://:pa@ss@h/0", "several @"),
        ("redis://:pa#ss@h/0", "a # in it"),
        ("redis://:pa/ss@h/0", "an @ behind its host"),
        ("postgresql://u:12/34@h/db", "an @ behind its host"),
        ("postgresql://u:12?34@h/db", "an @ behind its host"),
        ("redis://:pa ss@h/0", "a space"),
        ("redis://h:port/0", "port is not a number"),
        ("redis://h:70000/0", "port is not a number"),
    ],
)
def test_a_malformed_url_is_explained_without_a_part_of_it(url: str, word: str) -> None:
    problem = url_problem(url)
    assert problem is not None
    assert word in problem
    assert "%40" in problem or word == "not a URL"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////home/a@b/#1 x.db",
        "redis://h",
        "redis://:p@[::1]:6379/0",
        "amqp://u:p@h//vhost",
        "sentinel://a:26379;sentinel://b:26379",
        "postgresql://h/db?user=me@server&sslmode=require",
        "redis://:$PW@$HOST:$PORT/0",
        "s3://bucket/a@b/my table #1",
        "inbox://",
    ],
)
def test_a_good_url_is_accepted(url: str) -> None:
    assert url_problem(url) is None


def test_only_a_reference_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ecret", raising=False)
    assert has_secret("postgresql://shop:$ecret@db/x")
    assert has_secret("postgresql://db/x?password=hidden")
    assert has_secret("redis://:pa#ss@h/0")
    assert not has_secret("postgresql://shop:$SHOP_PASSWORD@db/x?application=a%40b")
    assert not has_secret("postgresql://shop@db/x?token=${TOKEN}")
    assert not has_secret("events.csv")
    assert not has_secret("sqlite:////a:b@c.db")
    assert not has_secret("seg_high_value_customers_2026")
    assert has_secret("https://hidden@git.example/x")
    assert has_secret("host=db password=hidden")
    assert has_secret("Authorization: Bearer hidden.hidden")


def test_an_option_that_is_a_secret_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "hidden")
    options = {"token": "${SHOP_TOKEN}", "table": "$SHOP_TOKEN", "password": "plain", "rows": 3}
    assert fill_in_options(options) == {**options, "token": "hidden"}
    monkeypatch.delenv("SHOP_TOKEN")
    with pytest.raises(ConfigurationError, match="The variable SHOP_TOKEN is not set"):
        fill_in_options(options)


def test_references_are_filled_in_and_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "p@s/s?#w%41")
    monkeypatch.setenv("TOKEN", "a&b#c")
    assert fill_in("redis://:$SHOP_PASSWORD@h/0?token=${TOKEN}") == "redis://:p%40s%2Fs%3F%23w%41@h/0?token=a%26b%23c"
    monkeypatch.setenv("SHOP_DB", "postgresql://me:hidden@db/x")
    assert fill_in("$SHOP_DB") == "postgresql://me:hidden@db/x"
    monkeypatch.setenv("SHOP_DB", "postgresql://me:hid@den@db/x")
    with pytest.raises(ConfigurationError, match=r"^What \$SHOP_DB holds cannot be read as a URL: it has several @"):
        fill_in("$SHOP_DB")
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(ConfigurationError, match="The variable NOT_THERE is not set"):
        fill_in("redis://:$NOT_THERE@h/0")
    with pytest.raises(ConfigurationError, match=r"'redis://:\*\*\*@h/0' cannot be read: it has several @"):
        fill_in("redis://:pa@ss@h/0")
    with pytest.raises(ConfigurationError, match=r"'redis://:\*\*\*@h/0' shows \*\*\* for a password, as messages do"):
        fill_in("redis://:***@h/0")
