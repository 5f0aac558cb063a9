"""One run: options, selection, plan, execution and results."""
