"""The paper's comparisons: many runs, one process each, and their tables."""
