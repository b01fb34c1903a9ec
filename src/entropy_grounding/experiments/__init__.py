"""Experiments: run a table or an ablation, on a laptop or on a cluster."""
