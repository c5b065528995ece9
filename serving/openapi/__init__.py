"""The OpenAPI document of the service."""

from serving.openapi.document import PATH, document

__all__ = ["PATH", "document"]
