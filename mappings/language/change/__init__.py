"""What a contract that changes does to mappings: the differences, who is hit, and repairs of a mapping's text that the check proves."""
