"""Headline figures: each script here prints a table and writes it as JSON (`python -m benchmarks.NAME --json FILE`)."""
