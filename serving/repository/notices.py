"""What is wrong in the folder goes into the log once, not at every look."""

import logging

from serving.repository.catalogue import Catalogue

log = logging.getLogger("serving")


class Notices:
    """The last that was said of each place."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def say(self, place: str, error: str) -> None:
        """Log what is wrong at a place, if it is something new; nothing, if the error is empty."""
        if error and error != self._said.get(place):
            log.error("%s", error)
        self._said[place] = error

    def say_labels(self, catalogue: Catalogue) -> None:
        """Log where a label's version is not the one that the file says, and will not be soon."""
        for model, labels in catalogue.labels.items():
            for name, label in labels.items():
                target = catalogue.table.get((model, label.target))
                if target is None or target.state != "loading":
                    answers = f"{label.version} answers" if label.version else "nothing answers"
                    wrong = f"{model}: label {name} is {label.target}, which is not ready: {answers}"
                    self.say(f"{model} {name}", "" if label.version == label.target else wrong)
