"""The method as a model of lmms-eval, and benchmarks as its tasks."""
