"""Benchmarks, each a ratio against a peer in the same run: ``python -m tests.bench --help``."""
