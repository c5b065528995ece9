"""The prediction cache: answers by everything that they depend on, bounded by bytes, each computed once at a time."""

from serving.cache.key import Key, Request, request_key
from serving.cache.prediction import Cache, Found, Statistics
from serving.cache.store import Arrays

__all__ = ["Arrays", "Cache", "Found", "Key", "Request", "Statistics", "request_key"]
