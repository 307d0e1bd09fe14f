"""The door: who may ask, how often, in which version, and what they get when it goes wrong."""
