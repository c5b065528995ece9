"""What a version was asked, and copies of requests for it: counted by each worker, added up as figures are."""

from dataclasses import dataclass, field


@dataclass
class Traffic:
    """Of one version, in this process."""

    requests: int = 0
    failures: int = 0  # requests of its share that another version had to answer
    shadow: dict[str, float] = field(default_factory=dict)

    def count_shadow(self, what: str, amount: float = 1) -> None:
        """Note what became of a copied request."""
        self.shadow[what] = self.shadow.get(what, 0) + amount
