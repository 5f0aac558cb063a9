"""What a score is worth: permutation nulls, intervals, sensitivity."""
