"""Summaries, tables, charts and documents, all from stored rows."""
