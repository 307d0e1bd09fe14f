"""One reader per format: what the layout declares, read from a stream into transactions."""
