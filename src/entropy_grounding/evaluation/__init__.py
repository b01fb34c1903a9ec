"""Evaluate a VLM on a benchmark with a method: one stored row per example."""
