"""The models in a folder, NAME/VERSION/: found, loaded beside the requests, chosen by version or label, let go."""

from serving.repository.catalogue import Catalogue
from serving.repository.entry import Entry
from serving.repository.repository import Repository

__all__ = ["Catalogue", "Entry", "Repository"]
