"""The driver for a database URL: found if installed, else named with the command that installs it."""

from __future__ import annotations

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import NoSuchModuleError

from segadmin.errors import ConfigurationError
from segadmin.urls import mask_url

#: Dialect → its default driver, and the package of that driver.
DRIVERS = {
    "postgresql": ("psycopg", "'segadmin[postgres]'"),
    "mysql": ("pymysql", "pymysql"),
    "mariadb": ("pymysql", "pymysql"),
    "mssql": ("pymssql", "pymssql"),
    "oracle": ("oracledb", "oracledb"),
    "snowflake": ("", "snowflake-sqlalchemy"),
}
#: Drivers whose package has another name.
_PACKAGES = {"mysqldb": "mysqlclient", "psycopg": "'segadmin[postgres]'", "psycopg2": "psycopg2-binary"}


def engine_of(url: URL) -> Engine:
    """Return an engine for ``url``, which has not connected yet.

    Raises:
        ConfigurationError: there is no such dialect, or its driver is not installed; with the command that installs it.
    """
    shown = mask_url(url.render_as_string(hide_password=True))
    dialect, _, driver = url.drivername.partition("+")
    if dialect == "postgres":
        raise ConfigurationError(f"{shown}: write postgresql:// for postgres://.")
    usual, package = DRIVERS.get(dialect, ("", ""))
    names = [url.drivername] if driver or not usual else [url.drivername, f"{dialect}+{usual}"]
    for name in names:
        try:
            return create_engine(url.set(drivername=name))
        except (ImportError, NoSuchModuleError):
            continue
    if not package and dialect != "sqlite":
        raise ConfigurationError(f"{shown}: there is no database {dialect!r}. There are: sqlite, {', '.join(DRIVERS)}.")
    package = _PACKAGES.get(driver, driver) or package
    raise ConfigurationError(f"{shown}: its driver is not installed here. Run: pip install {package}")
