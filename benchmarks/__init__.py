"""ASV suite: alignment over commits and the cost of the metrics."""
