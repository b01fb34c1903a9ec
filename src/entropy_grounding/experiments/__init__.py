"""Experiments: a table or an ablation, run from a laptop to a cluster."""
