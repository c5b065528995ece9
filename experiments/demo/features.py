"""The features that can be shown, in the order in which all of them are; a file each."""

from collections.abc import Callable, Mapping

from experiments.demo import ab, autoscaling, caching, distributed, recovery, uncertainty
from experiments.demo.shown import Shown, Stage

FEATURES: Mapping[str, tuple[str, Callable[[Stage], Shown]]] = {
    "uncertainty": ("Uncertainty that holds", uncertainty.show),
    "caching": ("Answers that are kept", caching.show),
    "distributed": ("One step on several devices", distributed.show),
    "ab": ("A canary that is taken back", ab.show),
    "recovery": ("A replica that is killed", recovery.show),
    "autoscaling": ("Replicas that follow the load", autoscaling.show),
}
