"""Two tables to write into."""

from sqlalchemy import Column, Connection, ForeignKey, Integer, MetaData, Table

from engine.api.columns import Json, Key, LongText, UtcDateTime
from engine.db.databases import Database

metadata = MetaData()

turns = Table(
    "turns",
    metadata,
    Column("id", Key(), primary_key=True),
    Column("key", Key(), unique=True),
    Column("status", Key(20), nullable=False),
    Column("spent", Integer, nullable=False, default=0),
    Column("usage", Json),
    Column("text", LongText),
    Column("at", UtcDateTime),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Key(), primary_key=True),
    Column("turn", Key(), ForeignKey("turns.id", ondelete="CASCADE"), nullable=False),
    Column("text", LongText),
)


async def create_tables(database: Database) -> None:
    def create(connection: Connection) -> None:
        metadata.create_all(connection)
        connection.commit()

    await database.run(create)
