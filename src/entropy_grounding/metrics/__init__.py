"""Scores of answers and of places, and their statistics."""
