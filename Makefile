# Everything a developer runs. One set of build flags for tests and images, so that nothing is compiled twice: static
# programs, which run as well on the machine as alone in an image.
SHELL := /bin/bash
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
export CARGO_BUILD_TARGET := $(HOST)
export RUSTFLAGS := -C target-feature=+crt-static
export CARGO_TARGET_DIR ?= $(CURDIR)/target
PROGRAMS := $(CARGO_TARGET_DIR)/$(HOST)/debug
IMAGES := $(CARGO_TARGET_DIR)/images
# What `make image` writes; the images of tests are made of the programs of tests.
RELEASE := $(CARGO_TARGET_DIR)/image/cutover.tar
export PROGRAMS IMAGES RELEASE

.DEFAULT_GOAL := help
.PHONY: help build image plugin reproducible load demo examples bench judge test test-unit test-cluster e2e night upgrade fuzz fmt lint advisories crds clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo "KEEP=1 leaves the cluster and the demonstration running; KUBECONFIG names a cluster of your own."

build: ## all programs
	cargo build --workspace --bins

image: ## the operator's image archive, of an optimised and reproducible build
	@tests/run release

plugin: ## kubectl cutover, optimised and static: program, completion, man pages, krew manifest, in target/plugin
	@tests/run plugin

reproducible: ## build that image twice from nothing, in different folders, and compare (half an hour on two cores)
	@tests/run reproducible

load: image ## put that image into the cluster: the test cluster, or kind or k3d by KUBECONFIG
	@tests/cluster/cluster load $(RELEASE)

demo: build ## three releases under load on a real cluster
	@tests/run demo

examples: build ## the runbooks in examples/ on a real cluster, forwards and back; ARGS="creditai --keep" narrows them
	@tests/run examples $(ARGS)

bench: ## latencies, lost requests and size, measured (25 minutes; QUICK=1: a short run; REPS=20; ONLY=metric,size)
	@tests/run bench

judge: ## the rules that judge a release, replayed over generated traffic: docs/judging.md (20 minutes; LONG_REPLAYS=2000: 6; ONLY="100/s")
	@tests/run judge

test: ## every test, on a cluster that is brought up and taken down
	@tests/run test

night: ## what is too long for every change: large search, 200 orders of each scenario, long faults, all examples, Flux, upgrade, fuzzing, replays, bench; PARTS="search faults"
	@tests/run night

upgrade: ## from the version before (the last tag, or REF=…) to this one and back, with runs under way (15 minutes)
	@tests/run upgrade $(REF)

test-unit: ## the tests that need no cluster
	CUTOVER_E2E=skip env -u KUBECONFIG cargo test --workspace

test-cluster: ## admission tests on the cluster
	@tests/run cluster --test crd --test admission

e2e: ## end-to-end tests on the cluster; ARGS="good -- --nocapture" narrows them
	@tests/run e2e $(ARGS)

fuzz: ## what comes from outside, made worse and guided by coverage: TARGET="http x509" (all), FOR=60 (seconds each)
	@tests/run fuzz $(TARGET)

fmt: ## format the code
	cargo fmt --all

lint: ## formatting, clippy, shellcheck, what ships, and cargo deny: licences, bans, sources (advisories: make advisories)
	@tests/run lint

advisories: ## security advisories about the crates in use; the database comes over the network
	@tests/run advisories

crds: ## write crds/, the chart's copy and docs/api.md anew from the types
	UPDATE_EXPECT=1 cargo test --workspace --test crd

clean: ## remove what was built (the cluster's cache stays)
	cargo clean
