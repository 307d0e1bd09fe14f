"""The nouns of the one API, as msgspec Structs. Field names follow the canonical model: camelCase in JSON, snake_case in Python."""
