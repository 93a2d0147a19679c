"""Sources with real servers behind them: SQL databases, Delta tables, Redis streams."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
import redis
from deltalake import write_deltalake
from sqlalchemy import create_engine, text
from sqlmodel import select

from segadmin.errors import ConfigurationError, DataError
from segadmin.events import import_commit, ingest
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import
from segadmin_plugins.sources.sql import Sql
from tests.servers import fresh_database, redis_server

ROWS = [
    {"user": f"u{n % 7}", "kind": "view", "item": f"i{n}", "at": f"2026-01-{1 + n % 28:02} 10:00"} for n in range(250)
]


def events(settings: Settings) -> pl.DataFrame:
    return Lake.of(settings).scan("events").collect()


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_a_query(
    settings: Settings, tmp_path: Path, postgres_url: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "CHUNK_ROWS", 100)
    url = f"sqlite:///{tmp_path / 'shop.db'}" if where == "sqlite" else fresh_database(postgres_url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE orders (buyer INTEGER, sku TEXT, paid_at TIMESTAMP, total NUMERIC(10, 2))")
        )
        connection.execute(
            text("INSERT INTO orders VALUES (:buyer, :sku, :paid_at, :total)"),
            [
                {"buyer": n % 7, "sku": f"i{n}", "paid_at": f"2026-01-{1 + n % 28:02} 10:00:00", "total": n / 4}
                for n in range(250)
            ],
        )
    engine.dispose()
    monkeypatch.setenv("SHOP_DB", url)
    mapping = Mapping(
        columns={"user": "buyer", "item": "sku", "at": "paid_at", "price": "total"}, constants={"kind": "purchase"}
    )
    request = ImportRequest("events", "$SHOP_DB", mapping, source="sql", options={"query": "SELECT * FROM orders"})
    done, _ = import_file(settings, request)
    assert (done.rows_read, done.rows_kept) == (250, 250)
    assert events(settings)["price"].sum() == sum(n / 4 for n in range(250))
    again, _ = import_file(settings, request)
    assert (again.rows_kept, again.reasons) == (0, {"duplicate_event": 250})
    assert "SHOP_DB" in done.file


def test_a_failed_query_shows_no_password(settings: Settings, postgres_url: str) -> None:
    url = fresh_database(postgres_url).replace(":@", ":hunter2@")
    with pytest.raises(DataError, match=r"refuses the query.*nowhere") as raised:
        import_file(settings, ImportRequest("events", url, options={"query": "SELECT * FROM nowhere"}))
    assert "hunter2" not in str(raised.value)
    with pytest.raises(ConfigurationError, match="needs a query"):
        import_file(settings, ImportRequest("events", url))


def read(url: str, query: str) -> pl.DataFrame:
    return pl.concat(Sql(query=query).chunks(url, 1000))


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_a_query_reaches_the_database_as_it_stands(tmp_path: Path, postgres_url: str, where: str) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}" if where == "sqlite" else fresh_database(postgres_url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE o (note TEXT)"))
        connection.execute(text("INSERT INTO o VALUES (:note)"), [{"note": "spring :sale 100%"}, {"note": "x"}])
    engine.dispose()
    answer = read(url, "SELECT note, 7 % 4 AS rest, '%s %(a)s ?' AS signs FROM o WHERE note LIKE '% :sale%'")
    assert answer.rows() == [("spring :sale 100%", 3, "%s %(a)s ?")]


def test_times_outside_the_range_of_python_are_quarantined(settings: Settings, postgres_url: str) -> None:
    """psycopg/psycopg 1251, PostHog/posthog 46097, singer-io/tap-postgres 94: one such time ended the whole import."""
    times = "'2024-03-01 10:00+08', '2024-03-01', 'infinity', '-infinity', '48113-11-21', '0044-03-15 BC', NULL"
    query = (
        f"SELECT 'u' || n AS user, 'view' AS kind, 'a' AS item, at, at::date AS day "
        f"FROM unnest(ARRAY[{times}]::timestamptz[]) WITH ORDINALITY AS t(at, n)"
    )
    url = f"{fresh_database(postgres_url)}&options=-c%20DateStyle%3DGerman%20-c%20TimeZone%3DAsia/Kolkata"
    done, _ = import_file(settings, ImportRequest("events", url, Mapping(), "sql", {"query": query}))
    assert (done.rows_read, done.rows_kept, done.reasons) == (7, 2, {"bad_time": 5})
    kept = events(settings)["at"].dt.strftime("%F %T").sort().to_list()
    assert kept == ["2024-02-29 18:30:00", "2024-03-01 02:00:00"]
    values = Lake.of(settings).scan("quarantine").collect().sort("line")["value"].to_list()
    assert values[:2] == ["infinity", "-infinity"]
    assert (values[2][:11], values[3][-2:], values[4]) == ("48113-11-21", "BC", None)
    done, _ = import_file(
        settings, ImportRequest("events", url, Mapping(columns={"at": "day"}), "sql", {"query": query})
    )
    assert done.reasons == {"bad_time": 5}


def test_exact_values_of_postgresql_stay_exact(postgres_url: str) -> None:
    query = """
        SELECT 12.50::numeric AS price, 'NaN'::numeric AS n, 'NaN'::float AS f, 123456789012345678901234567890 AS id,
               9223372036854775807 AS big, timestamptz '2026-01-31 10:00+02' AS at, true AS yes,
               '\\xff00'::bytea AS raw, convert_to('很好', 'UTF8') AS utf8,
               ARRAY[1, 2] AS list, '{"a": "很好"}'::jsonb AS object, NULL AS nothing
    """
    [row] = read(fresh_database(postgres_url), query).to_dicts()
    assert row == {
        "price": "12.50",
        "n": None,
        "f": None,
        "id": "123456789012345678901234567890",
        "big": 9223372036854775807,
        "at": "2026-01-31 08:00:00+00",
        "yes": "true",
        "raw": "ff00",
        "utf8": "很好",
        "list": "[1, 2]",
        "object": '{"a": "很好"}',
        "nothing": None,
    }


@pytest.mark.parametrize(
    "name", ["shop.db", "a b.db", "what?.db", "x#1.db", "100%.db", "店.db", "p%20q.db", "a&b=c.db"]
)
def test_sqlite_files_of_any_name(tmp_path: Path, name: str) -> None:
    with closing(sqlite3.connect(tmp_path / name)) as made:
        made.execute("CREATE TABLE o AS SELECT 1 AS user")
        made.commit()
    assert read(f"sqlite:///{tmp_path / name}", "SELECT * FROM o").rows() == [(1,)]
    with pytest.raises(DataError, match="attempt to write a readonly database"):
        read(f"sqlite:///{tmp_path / name}", "DELETE FROM o")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_missing_sqlite_file_is_not_created(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no SQLite file .*nosuch\.db\. Check the path"):
        import_file(
            settings, ImportRequest("events", f"sqlite:///{tmp_path}/nosuch.db", options={"query": "SELECT 1 AS user"})
        )
    assert not (tmp_path / "nosuch.db").exists()


def test_duplicate_and_reserved_column_names_are_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "shop.db").close()
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    with pytest.raises(DataError, match=r"several columns the name 'id'\. .*SELECT a\.id AS a_id"):
        read(url, "SELECT 1 AS id, 2 AS item, 3 AS id")
    with pytest.raises(DataError, match=r"a column 'segadmin:problem', a name that is reserved"):
        read(url, 'SELECT 1 AS "segadmin:problem"')


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://reader:hunter2@127.0.0.1:1/shop",
        "postgresql+psycopg://127.0.0.1:1/shop?user=reader&password=hunter2&foo=1",
        "postgresql+psycopg://reader:hunter2@127.0.0.1:port/shop",
        "postgresql+nosuch://reader:hunter2@127.0.0.1/shop",
        "mysql://reader:hunter2@127.0.0.1/shop",
        "nosuch://reader:hunter2@127.0.0.1/shop",
        "reader:hunter2@127.0.0.1",
    ],
)
def test_no_error_message_shows_the_password(settings: Settings, url: str) -> None:
    with pytest.raises((DataError, ConfigurationError)) as raised:
        import_file(settings, ImportRequest("events", url, source="sql", options={"query": "SELECT 1 AS user"}))
    assert "hunter2" not in str(raised.value)


def test_new_rows_of_a_delta_table_are_imported(settings: Settings, tmp_path: Path) -> None:
    path = str(tmp_path / "events")
    frame = pl.DataFrame(ROWS).with_columns(pl.col("at").str.to_datetime("%Y-%m-%d %H:%M"))
    write_deltalake(path, frame.head(100).to_arrow())
    assert import_file(settings, ImportRequest("events", path))[0].rows_kept == 100
    assert not import_file(settings, ImportRequest("events", path))[1]
    write_deltalake(path, frame.tail(150).to_arrow(), mode="append")
    done, fresh = import_file(settings, ImportRequest("events", path))
    assert fresh
    assert (done.rows_kept, done.reasons) == (150, {"duplicate_event": 100})
    assert events(settings)["item"].n_unique() == 250
    with pytest.raises(DataError, match="There is no Delta table at"):
        import_file(settings, ImportRequest("events", str(tmp_path / "no"), source="delta"))


def test_a_stream_is_imported_once_despite_crashes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server(settings):
        client = redis.Redis(unix_socket_path=str(settings.redis_socket), decode_responses=True)
        where = f"unix://{settings.redis_socket}"
        request = ImportRequest("events", where, options={"idle_seconds": "0.05"})
        for row in ROWS[:100]:
            client.xadd("segadmin:events", row)
        client.xadd("segadmin:events", {"json": json.dumps({**ROWS[100], "price": 9.5, "text": "很好"})})
        client.xadd("segadmin:events", {"kind": "stare"})

        def die(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(import_commit, "settle_events", die)  # on disk and acknowledged, but not in the lake
            import_file(settings, request)
        assert events(settings).is_empty()
        for row in ROWS[101:]:
            client.xadd("segadmin:events", row)
        done, _ = import_file(settings, request)
        assert (done.rows_read, done.rows_kept, done.reasons) == (251, 250, {"missing_user": 1})
        assert client.xpending("segadmin:events", "segadmin")["pending"] == 0
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            client.xadd("segadmin:events", ROWS[0])
            patch.setattr(ingest, "readable", die)  # given, but not on disk
            import_file(settings, request)
        done, _ = import_file(settings, request)
        assert (done.rows_read, done.rows_kept) == (1, 1)
        assert events(settings).height == 251
        with transaction(settings) as session:
            assert {record.state for record in session.exec(select(Import)).all()} == {"succeeded"}
        client.close()


def test_entries_of_two_streams_with_the_same_id_are_two_events(settings: Settings) -> None:
    """Redis counts entries within a millisecond, for each stream anew."""
    with redis_server(settings):
        client = redis.Redis(unix_socket_path=str(settings.redis_socket))
        for number, stream in enumerate(("web", "app")):
            client.xadd(stream, ROWS[7 * number], id="1767225600000-0")
            options = {"idle_seconds": "0.05", "stream": stream}
            import_file(settings, ImportRequest("events", f"unix://{settings.redis_socket}", options=options))
        assert events(settings).height == 2
        client.close()


def test_acknowledged_entries_survive_errors_and_other_mappings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged is on this disk only."""
    with redis_server(settings):
        client = redis.Redis(unix_socket_path=str(settings.redis_socket), decode_responses=True)
        where = f"unix://{settings.redis_socket}"

        def request(stream: str, **mapping: object) -> ImportRequest:
            options = {"idle_seconds": "0.05", "stream": stream}
            return ImportRequest("events", where, Mapping.model_validate(mapping), options=options)

        def refuse(*_: object, **_options: object) -> None:
            raise DataError("the lake is as it is")

        for row in ROWS[:20]:
            client.xadd("segadmin:a-very-long-name-1", row)
        for row in ROWS[20:50]:
            client.xadd("segadmin:a-very-long-name-2", row)
        for number in (1, 2):
            with monkeypatch.context() as patch, pytest.raises(DataError):
                patch.setattr(import_commit, "settle_events", refuse)
                import_file(settings, request(f"segadmin:a-very-long-name-{number}"))
        second, _ = import_file(settings, request("segadmin:a-very-long-name-2"))
        assert (second.rows_kept, events(settings).height) == (30, 30)
        client.xadd("segadmin:a-very-long-name-1", {**ROWS[60], "kind": "bought"})
        first, _ = import_file(settings, request("segadmin:a-very-long-name-1", kinds={"bought": "purchase"}))
        assert (first.rows_kept, events(settings).height) == (21, 51)
        client.close()


def test_an_interrupted_table_version_is_not_mixed_with_the_next(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "events")
    frame = pl.DataFrame(ROWS)
    write_deltalake(path, frame.head(100).to_arrow())

    def die(*_: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(import_commit, "settle_events", die)
        import_file(settings, ImportRequest("events", path))
    write_deltalake(path, frame.tail(150).to_arrow(), mode="overwrite")
    done, _ = import_file(settings, ImportRequest("events", path))
    assert (done.rows_read, done.rows_kept) == (150, 150)
    assert set(events(settings)["item"]) == {f"i{n}" for n in range(100, 250)}


def test_reserved_fields_in_an_entry_are_refused(settings: Settings) -> None:
    with redis_server(settings):
        client = redis.Redis(unix_socket_path=str(settings.redis_socket), decode_responses=True)
        client.xadd("segadmin:events", {**ROWS[0], "segadmin:problem": "bot"})
        client.xadd("segadmin:events", {"json": json.dumps({**ROWS[1], "segadmin:line": 7})})
        client.xadd(
            "segadmin:events",
            {"json": '{"user": 12345678901234567890, "kind": "view", "item": 1.50, "at": 1767225600}'},
        )
        request = ImportRequest("events", f"unix://{settings.redis_socket}", options={"idle_seconds": "0.05"})
        done, _ = import_file(settings, request)
        assert (done.rows_kept, done.reasons) == (1, {"reserved_name": 2})
        assert Lake.of(settings).scan("users").collect()["user"].to_list() == ["12345678901234567890"]
        client.close()


def test_an_entry_without_the_fields_does_not_block_others(settings: Settings) -> None:
    with redis_server(settings):
        client = redis.Redis(unix_socket_path=str(settings.redis_socket), decode_responses=True)
        options = {"idle_seconds": "0.05"}
        mapping = Mapping(columns={"user": "who"}, extras=("shop",))
        request = ImportRequest("events", f"unix://{settings.redis_socket}", mapping, options=options)
        client.xadd("segadmin:events", {"greeting": "hello"})
        done, _ = import_file(settings, request)
        assert (done.rows_kept, done.reasons) == (0, {"missing_user": 1})
        [kept] = Lake.of(settings).scan("quarantine").collect()["row"].to_list()
        assert json.loads(kept)["greeting"] == "hello"
        client.xadd("segadmin:events", {"who": "u1", "kind": "view", "item": "a", "at": "2026-01-01"})
        assert import_file(settings, request)[0].rows_kept == 1
        client.close()


def test_entries_that_cannot_be_cleaned_do_not_block_others(settings: Settings) -> None:
    with redis_server(settings):
        client = redis.Redis(unix_socket_path=str(settings.redis_socket), decode_responses=True)
        priced = {**ROWS[0], "kind": "purchase", "price": "1"}
        for entry in (
            {**priced, "currency": "EUR"},
            {**priced, "user_duplicated_0": "another"},
            {**priced, "currency": "USD"},
            {**priced, "quarantine:other": '{"user": "another"}'},
            {"json": json.dumps({**ROWS[1], "quarantine:escaped": "yes"})},
            {**priced, "currency": "EUR"},
        ):
            client.xadd("segadmin:events", entry)
        request = ImportRequest("events", f"unix://{settings.redis_socket}", options={"idle_seconds": "0.05"})
        done, _ = import_file(settings, request)
        assert done.reasons == {"failed": 1, "unknown_currency": 1, "reserved_name": 2}
        assert done.rows_kept == 2
        assert client.xpending("segadmin:events", "segadmin")["pending"] == 0
        client.xadd("segadmin:events", {**priced, "currency": "USD"})
        assert import_file(settings, request)[0].reasons == {"unknown_currency": 1}
        client.close()
