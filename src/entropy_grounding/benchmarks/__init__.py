"""The seven benchmarks of the paper under one protocol, and their miniatures."""
