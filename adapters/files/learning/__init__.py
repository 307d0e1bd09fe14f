"""How transactions are written, learned from those that were read: cells that may change, their equations, where their values go."""
