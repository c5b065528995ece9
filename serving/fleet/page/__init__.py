"""The live page of a fleet at `/monitoring`: files as they are, which ask the supervisor once a second."""

from serving.fleet.page.routes import BELOW, PAGE

__all__ = ["BELOW", "PAGE"]
