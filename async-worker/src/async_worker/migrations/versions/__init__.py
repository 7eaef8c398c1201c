"""One file a step; the number in front says in which order they run."""
