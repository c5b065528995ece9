"""Checkpoints by Orbax: the training state, the data iterator's position, and the config they belong to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from pnol_jax.errors import InputError
from pnol_jax.training.step import TrainState

Position = dict[str, Any]


class Checkpoints:
    """Asynchronous checkpoints in a folder; an unfinished one is never seen."""

    def __init__(self, folder: Path, keep: int, config_digest: str) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        self._config_digest = config_digest
        self._folder = folder

    def latest(self) -> int | None:
        """The last step that was saved whole."""
        step: int | None = self._manager.latest_step()
        return step

    def save(self, state: TrainState, position: Position) -> None:
        """Begin to save; `position` is the data iterator's, taken before the next batch is drawn."""
        # The state is donated to the next step, so Orbax must have copied it before this returns; it does.
        plain = replace(state, key=jax.random.key_data(state.key))
        about = {"position": position, "config": self._config_digest}
        step = int(state.step)
        if step != self.latest():
            items = ocp.args.Composite(state=ocp.args.StandardSave(plain), about=ocp.args.JsonSave(about))
            self._manager.save(step, args=items)

    def restore(self, like: TrainState) -> tuple[TrainState, Position]:
        """The latest checkpoint, its arrays put where those of `like` are, on whatever mesh it was saved.

        Raises:
            InputError: there is none, it belongs to another config, or its arrays do not fit.
        """
        step = self.latest()
        if step is None:
            raise InputError(f"resume: no checkpoint in {self._folder}; start without --resume")
        about = self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
        if about["config"] != self._config_digest:
            raise InputError(
                f"resume: checkpoint {step} in {self._folder} is of another config (digest {about['config'][:12]}, "
                f"this one {self._config_digest[:12]}); expected the config and cases that it began with"
            )
        plain = jax.tree.map(_shape, replace(like, key=jax.random.key_data(like.key)))
        restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(plain)))
        state: TrainState = restored["state"]
        return replace(state, key=jax.random.wrap_key_data(state.key)), about["position"]

    def close(self) -> None:
        """Wait until what was begun is on the disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def _shape(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)  # type: ignore[no-untyped-call]
