"""The databases that this folder's tests run on."""

from tests.databases import database, database_url, mariadb_server, mysql_url

__all__ = ("database", "database_url", "mariadb_server", "mysql_url")
