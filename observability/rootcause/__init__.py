"""What broke, since when, and how sure: detection, blame, explaining away and scope, over columns of numbers."""
