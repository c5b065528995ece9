"""The service with several versions of a model at once: it chooses who gets which, and learns from truths."""

import asyncio
import logging
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from serving.abstention import Policy
from serving.answers import Answer
from serving.query import Options, Query
from serving.refusals import Abstained, Unavailable
from serving.releases.kept import ledgers_in
from serving.releases.memory import Asked, Memory
from serving.releases.shadow import Shadow
from serving.releases.split import choose, key_of, place
from serving.releases.traffic import Traffic
from serving.releases.truths import Own, Truths
from serving.repository.labels import STABLE, Labels
from serving.service import Service
from serving.wanted import UNASKED

log = logging.getLogger("serving")
T = TypeVar("T")


class ReleasingService(Service):
    """Answers queries by the shares of `labels.toml`. Used from one event loop."""

    def __init__(
        self,
        *parts: Any,
        feedback_requests: int,
        feedback_bytes: int,
        shadow_queue: int,
        ledgers: str = "",
        policy: Policy | None = None,
    ) -> None:
        super().__init__(*parts, policy=policy)
        self.memory = Memory(feedback_requests, feedback_bytes)
        self.shadow = Shadow(self.ask, lambda: self.engine.statistics.waiting == 0, shadow_queue)
        self.ledgers = ledgers_in(ledgers, feedback_requests)
        self.truths: Truths = Own(self.memory, self.ledgers)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.traffic: dict[tuple[str, str], Traffic] = {}  # by model and version

    async def answer(self, query: Query, *, abstaining: bool = True) -> Answer:
        """Answer a query; which version does follows from the split, unless the query names one.

        Raises:
            Refusal, InputError: the query does not fit.
            Unavailable: the queue is full, or the deadline passed.
        """
        routed = self._routed(query)
        answer = await (super().answer(query) if routed is query else self._try(routed, query))
        model, version = answer.manifest.name, answer.manifest.version
        file = self.repository.catalogue.files.get(model, Labels())
        if file.versions:  # then each request counts
            self.traffic_of(model, version).requests += 1
            self._copy(query, model, file.sections.shadow, version)
            answer = replace(answer, repeatable=None)
        if query.options.id is None and not (file.sections.split or file.sections.rule):
            return answer
        identifier = query.options.id or uuid.uuid4().hex
        self.memory.put(identifier, Asked.apart(bare(query, None), model, version))
        return replace(answer, id=identifier, repeatable=None)

    async def _try(self, routed: Query, query: Query) -> Answer:
        """The answer of the version on trial; if it has none, for whatever reason of its own, that of the usual one."""
        try:
            return await super().answer(routed)
        except (Unavailable, Abstained):
            raise
        except Exception as error:
            answer = await super().answer(query)  # which raises what is the query's own fault
            self.traffic_of(answer.manifest.name, str(routed.options.version)).failures += 1
            log.warning("%s/%s failed: %s", answer.manifest.name, routed.options.version, error)
            return answer

    async def ask(self, query: Query) -> Answer:
        """Answer a query as it is, however strange: by the version that it names, counted and remembered nowhere."""
        return await super().answer(query, abstaining=False)

    def traffic_of(self, model: str, version: str) -> Traffic:
        """What a version was asked here."""
        return self.traffic.setdefault((model, version), Traffic())

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run to its end, whoever waits for it or does not; the loop itself keeps no hold of its tasks."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def asked(self, query: Query) -> Asked:
        """A query with the model and version that would answer it.

        Raises:
            NotFound: none does.
        """
        options = self._routed(query).options
        manifest = self.repository.find(options.model, options.version).servable.manifest
        return Asked(query, manifest.name, manifest.version)

    def _routed(self, query: Query) -> Query:
        """The query with the version on trial, if it names none and the split gives it that one; else itself."""
        catalogue = self.repository.catalogue
        if query.options.version is not None or not catalogue.files:
            return query
        model = catalogue.model(query.options.model)
        split = catalogue.files.get(model, Labels()).sections.split
        label = choose(split, place(key_of(query), model, "split")) if split else None
        resolved = catalogue.labels.get(model, {}).get(label or STABLE)
        if label in (None, STABLE) or resolved is None or resolved.version is None:
            return query
        return at_version(query, resolved.version)

    def _copy(self, query: Query, model: str, shares: Mapping[str, float], answered: str) -> None:
        key = key_of(query) if shares else b""
        for label, share in shares.items():
            resolved = self.repository.catalogue.labels.get(model, {}).get(label)
            version = resolved.version if resolved else None
            if version not in (None, answered) and place(key, model, f"shadow {label}") < share:
                self.shadow.add(at_version(query, version, priority="low"), self.traffic_of(model, str(version)))


def at_version(query: Query, version: str | None, **options: Any) -> Query:
    """The query with another version and other options, and without the body that it came in."""
    own = {name: getattr(query.options, name) for name in Options.__struct_fields__}
    return replace(query, options=Options(**own | {"version": version} | options))


def bare(query: Query, version: str | None, **options: Any) -> Query:
    """The same without the levels, thresholds and weights that its caller named: truths are compared with none."""
    return replace(at_version(query, version, **UNASKED | options), functionals=None)
