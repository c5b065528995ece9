"""Two versions at once: shares of traffic, copies in the shadow, truths that come later, and the rule that decides."""

from serving.releases.service import ReleasingService

__all__ = ["ReleasingService"]
