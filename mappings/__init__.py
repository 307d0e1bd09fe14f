"""How one shape becomes another: the language, and the reference estate's mappings beside it."""
