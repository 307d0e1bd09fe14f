"""Where files come from: what is complete there, what its bytes are, and where it goes afterwards."""
