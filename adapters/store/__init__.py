"""The store driver: the gateway's own books on SQLite (default) or PostgreSQL, one set of books over two engines."""
