"""The paper's seven benchmarks and three of high resolution under one protocol, and miniatures."""
