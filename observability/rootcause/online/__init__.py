"""From cells to incidents, on line: what broke, since when, for whom, and how sure. Same evidence, same answer."""
