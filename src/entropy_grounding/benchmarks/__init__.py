"""The paper's seven benchmarks under one protocol, and a miniature of each."""
