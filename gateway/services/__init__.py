"""Use cases. They speak ports and never name a driver, a system or a web framework."""
