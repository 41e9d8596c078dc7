"""The only room that knows ClickHouse: engines, SQL files, migrations, Arrow schemas."""
