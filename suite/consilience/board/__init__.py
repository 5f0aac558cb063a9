"""Boards: ranking, Markdown, JSON, what a run prints."""
