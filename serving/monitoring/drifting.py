"""What the counters of inputs and of calibration (`serving.releases.figures`) of all workers say of drift."""

from serving.monitoring.drift import p_value
from serving.monitoring.families import Families, Family, Labels, Sample

INPUT, MISS = "pnol_input_alarm", "pnol_interval_miss"


def with_drift(families: Families) -> Families:
    """The figures of all workers, and the p-values that follow from them."""
    found = {family.name: family.samples for family in families}
    alarms, seen = (_by_labels(found.get(f"{INPUT}{what}", ())) for what in ("s", "_cases"))
    inputs = {
        labels: p_value([(1.0, alarms[labels]), (0.0, seen[labels] - alarms[labels])], rate)
        for labels, rate in _by_labels(found.get(f"{INPUT}_allowed_rate", ())).items()
    }
    shares = _counts(found.get(f"{MISS}_share", ()))
    misses = {
        labels: p_value(shares[labels], rate)
        for labels, rate in _by_labels(found.get(f"{MISS}_allowed_rate", ())).items()
    }
    text = "Of no drift, valid whenever one looks."
    return (*families, _gauge("pnol_input_drift_p", text, inputs), _gauge("pnol_calibration_drift_p", text, misses))


def _by_labels(samples: tuple[Sample, ...]) -> dict[Labels, float]:
    return {labels: value for _, labels, value in samples}


def _counts(samples: tuple[Sample, ...]) -> dict[Labels, list[tuple[float, float]]]:
    """Of a histogram by its other labels: the lower bound of each bucket, and how many values it holds.

    The lower bound, so that a p-value is at most too large.
    """
    counts: dict[Labels, list[tuple[float, float]]] = {}
    before: dict[Labels, tuple[float, float]] = {}  # bound and sum of the bucket below
    for name, labels, total in samples:
        if not name.endswith("_bucket"):
            continue
        others = tuple(label for label in labels if label[0] != "le")
        bound = float(dict(labels)["le"])
        lower, below = before.get(others, (0.0, 0.0))
        counts.setdefault(others, []).append((lower, total - below))
        before[others] = (bound, total)
    return counts


def _gauge(name: str, text: str, values: dict[Labels, float]) -> Family:
    return Family(name, text, "gauge", "max", tuple((name, labels, value) for labels, value in values.items()))
