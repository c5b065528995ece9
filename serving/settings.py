"""Every setting, limit and default of the service, in one place.

Flags override the environment, which overrides a TOML file, which overrides these (`serving.sources`).
`python -m serving.settings` prints the table of `docs/settings.md`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pnol_jax import toml
from pnol_jax.errors import InputError
from serving.sources import read_sources, table

Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(gt=0, le=1)]
Part = Annotated[float, Meta(ge=0, le=1)]
Distance = Annotated[float, Meta(ge=0, lt=1)]
Switch = Literal["off", "on"]
LogFormat = Literal["text", "json"]
Choice = Literal["expected", "least_outstanding", "weighted", "round_robin"]
Port = Annotated[int, Meta(ge=0, le=65535)]
Level = Annotated[int, Meta(ge=0, le=9)]
Sizes = tuple[Count, ...]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The service's settings; a flag `--max-body-bytes` stands for `max_body_bytes`, and so on."""

    models: Annotated[str, Meta(description="folder of NAME/VERSION/")]
    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="0: one that is free, named in the ready line")] = 8080
    grpc_port: Annotated[
        Port | None, Meta(description="of the Open Inference Protocol over gRPC; none: not served; 0: as above")
    ] = None
    agent_port: Annotated[
        Port | None,
        Meta(description="where a balancer asks for the share of requests to send; none: not said; 0: as above"),
    ] = None
    agent_half_seconds: Annotated[Seconds, Meta(description="of waiting for a batch, at which that share is half")] = (
        0.05
    )

    executables: Annotated[str, Meta(description="folder of compiled programs kept between starts; '': none")] = (
        "~/.cache/pnol_jax/executables"
    )
    workers: Annotated[Count, Meta(description="processes that share the port, each with cores of its own")] = 1
    stall_seconds: Annotated[
        Seconds, Meta(description="without a sign of life, after which one of several workers is replaced")
    ] = 20.0

    devices: Annotated[Count | None, Meta(description="of this machine that are served on, the first so many")] = None
    device_choice: Annotated[
        Choice, Meta(description="of a device for each request, where there are several; expected: first to be done")
    ] = "expected"

    poll_seconds: Annotated[float, Meta(ge=0, description="between looks at the folder for new versions; 0: none")] = (
        5.0
    )
    load_threads: Annotated[Count, Meta(description="that load versions, and as many that compile for them")] = 2
    tokens: Annotated[str, Meta(description="file of bearer tokens' hashes (serving.tokens); '': anybody may ask")] = ""
    keep_versions: Annotated[
        Natural, Meta(description="newest of a model that stay loaded, beside those with a label; 0: all")
    ] = 0
    repository_control: Annotated[bool, Meta(description="whether requests may load and unload models")] = False

    batch_sizes: Annotated[Sizes, Meta(description="compiled at start for mean and variances")] = (1, 2, 4, 8, 16)
    samples_batch_sizes: Annotated[Sizes, Meta(description="the same for all other answers")] = (
        1,
        2,
        4,
    )
    queue_cases: Annotated[Count, Meta(description="cases waiting, beyond which requests get 503")] = 1024
    inline_seconds: Annotated[
        float, Meta(ge=0, description="of work that came alone, done without handing it to the engine's thread")
    ] = 0.002
    deadline_seconds: Annotated[
        Seconds, Meta(description="from the whole body to the answer, unless the request asks for less")
    ] = 30.0

    cache_bytes: Annotated[Natural, Meta(description="of answers that are kept; 0: none")] = 256 * 2**20
    cache_compression: Annotated[Switch, Meta(description="of kept answers, where it saves a tenth; exact")] = "off"
    cache_approximate: Annotated[
        Distance, Meta(description="of inputs, relative, within which another's answer is given, marked; 0: never")
    ] = 0.0
    operands_bytes: Annotated[
        Natural, Meta(description="of the grids of batches, kept on each device; the newest always is")
    ] = 256 * 2**20

    feedback_requests: Annotated[Natural, Meta(description="answered last, whose truth may come later")] = 4096
    feedback_bytes: Annotated[Natural, Meta(description="of their inputs")] = 64 * 2**20
    ledgers: Annotated[
        str, Meta(description="folder in which truths are counted, by all who share it and for the next; '': in memory")
    ] = ""
    shadow_queue: Annotated[Count, Meta(description="copies of requests that wait for an idle engine")] = 16

    rollout_steps: Annotated[Count, Meta(description="of one rollout")] = 10_000
    rollout_bytes: Annotated[Count, Meta(description="of the states of all rollouts under way")] = 256 * 2**20

    abstain: Annotated[
        Literal["off", "mark", "refuse"], Meta(description="what becomes of answers to inputs that are too strange")
    ] = "off"
    abstain_from: Annotated[
        float | None, Meta(description="the figure 'ood' that is too strange; none: from the model's own alarm on")
    ] = None

    max_cases: Annotated[Count, Meta(description="in one request")] = 256
    max_body_bytes: Annotated[Count, Meta(description="of one request")] = 64 * 2**20
    gzip_level: Annotated[Level, Meta(description="of answers to clients that accept gzip; 0: never")] = 0
    max_header_bytes: Annotated[Count, Meta(description="of one request")] = 64 * 2**10
    max_connections: Annotated[Count, Meta(description="open at once")] = 1024
    header_seconds: Annotated[Seconds, Meta(description="for a connection to send its request's head")] = 10.0
    body_seconds: Annotated[Seconds, Meta(description="and its body")] = 30.0
    send_seconds: Annotated[Seconds, Meta(description="for a client to take what was sent to it")] = 60.0
    keep_alive_seconds: Annotated[Count, Meta(description="that a connection may wait for its next request")] = 30
    drain_seconds: Annotated[Count, Meta(description="for requests under way after SIGTERM")] = 30

    log_format: Annotated[LogFormat, Meta(description="of the lines on standard error, text or json")] = "text"
    access_log: Annotated[Part, Meta(description="share of requests that get a line in the log; 0: none")] = 0.0
    traces: Annotated[str, Meta(description="address of an OpenTelemetry collector, OTLP over HTTP; '': no traces")] = (
        ""
    )
    traces_share: Annotated[Part, Meta(description="of traces that begin here; the caller's choice goes before it")] = (
        1.0
    )

    utilisation_window: Annotated[Seconds, Meta(description="seconds over which utilisation is measured")] = 60.0
    utilisation_target: Annotated[Share, Meta(description="of the engine, which recommended replicas keep to")] = 0.7


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings from command line flags, the environment, and the file that either names.

    Raises:
        InputError: a value of the wrong type or out of range, sizes that do not increase, no such file or folder, a
            variable of the environment with our prefix that is no setting.
    """
    settings = toml.parse(read_sources(Settings, arguments, environment), Settings, "settings")
    for name in ("batch_sizes", "samples_batch_sizes"):
        sizes = getattr(settings, name)
        if not sizes or sizes[0] != 1 or list(sizes) != sorted(set(sizes)):
            raise InputError(f"{name}: got {list(sizes)}, expected increasing sizes that begin with 1")
    if settings.max_cases > settings.queue_cases:
        raise InputError(f"max_cases: got {settings.max_cases}, expected at most queue_cases, {settings.queue_cases}")
    if settings.workers > 1 and settings.grpc_port == 0:
        raise InputError(f"grpc_port: got 0 with {settings.workers} workers, expected the port that they share")
    if settings.workers > 1 and settings.agent_port is not None:
        raise InputError(f"agent_port: got {settings.agent_port} with {settings.workers} workers, expected one process")
    if not Path(settings.models).is_dir():
        raise InputError(f"models: no folder {settings.models!r}")
    return settings


if __name__ == "__main__":
    print(table(Settings), end="")
