"""Tiny VLMs: their scenes, their recipe, their weights."""
