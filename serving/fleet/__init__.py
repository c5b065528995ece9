"""Replicas of the service behind one address, which come, go, die and return without a caller noticing."""
