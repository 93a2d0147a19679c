"""URLs of SQL databases: which ones are supported."""

from __future__ import annotations

from urllib.parse import parse_qsl

from segadmin.urls import url_problem

#: SQLAlchemy's names of the supported databases and drivers.
_DATABASES = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg", "postgresql+psycopg2")
_EXAMPLES = "sqlite:////path/to/segadmin.db or postgresql://user:password@host/name"


def check_database_url(url: str) -> None:
    """Refuse the URL of an unsupported database before a driver repeats it, with its password, in a message.

    Raises:
        ValueError: the database or the driver is not supported, or the URL cannot be parsed as intended.
    """
    scheme = url.partition("://")[0]
    database, _, driver = scheme.partition("+")
    if scheme.startswith("sqlite"):
        _check_sqlite_url(url)
    elif database == "postgres" and scheme.replace("postgres", "postgresql") in _DATABASES:
        raise ValueError("write postgresql:// for postgres://")
    elif database == "postgresql" and scheme not in _DATABASES:
        raise ValueError(f"the driver {driver!r} is not supported. Write postgresql://")
    elif problem := url_problem(url):
        raise ValueError(f"{problem}. Use {_EXAMPLES}")
    elif scheme not in _DATABASES:
        raise ValueError(f"only SQLite and PostgreSQL are supported. Use {_EXAMPLES}")


def _check_sqlite_url(url: str) -> None:
    file, mark, options = url.partition("?")
    if mark and not parse_qsl(options):
        raise ValueError(f"a question mark in a file's name is written %3F: {file}%3F{options}")
    if url in {"sqlite://", "sqlite:///", "sqlite:///:memory:"}:
        raise ValueError("a database in memory is lost with its process. Write sqlite:////path/to/segadmin.db")
