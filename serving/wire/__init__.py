"""Bytes to queries and answers to bytes, one format a file. None of them knows the engine."""
