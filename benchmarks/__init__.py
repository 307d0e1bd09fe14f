"""What Tillgate costs, as ratios against a floor and a peer that are measured in the same run."""
