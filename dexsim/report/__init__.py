"""What a run shows: a line of progress, and pages of HTML."""
