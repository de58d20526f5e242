# The one place where the project's commands meet; `make help` lists them.
#
#   make demo            from a bare machine to a built, tested, running two-platform image
#   make test            everything, on real services
#   make check           style, import laws and the tests that need no services

SHELL := /bin/bash
.DEFAULT_GOAL := help

# A target imports only what it declares. Warnings are errors by Package.swift.
export SWIFT_FLAGS = --explicit-target-dependency-import-check error

# One build folder per configuration, so that none throws away another's work.
export DEBUG_BUILD = .build
export RELEASE_BUILD = .build-release
export TSAN_BUILD = .build-tsan

# Tests that need the services of scripts/services. In other targets they live in suites whose
# names begin with "Real".
export NEEDS_SERVICES = ^(FarmTests|JobQueueAMQPTests|RecordStorePostgresTests)[.]|[.]Real

# Suites that are too long for `make test`.
export SOAK_ONLY = [.]Soak

# `make soak` does these (scripts/soak says what each is), kills daemons for so long, and begins with
# this seed.
export SOAK_STAGES ?= faults platforms variants tests kills
export SOAK_SECONDS ?= 600
export SOAK_SEED ?= 1

# `make simulate` runs so many seeds, from this one on.
SEEDS ?= 1000
FIRST ?= 1

.PHONY: help setup build demo format check test simulate soak bench services base clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## install what this machine lacks for the tests
	scripts/setup test

build: ## the debug build
	swift build $(SWIFT_FLAGS) --scratch-path $(DEBUG_BUILD)

base: ## the sample base image, in .farm/base
	scripts/base

services: ## start the engines, broker, store and registry of the tests, and leave them running
	scripts/services up

demo: ## build and run the sample product on this machine
	scripts/demo

format: ## lay out the Swift files as `check` wants them
	swift format --in-place --configuration scripts/swift-format.json --parallel --recursive Package.swift Sources Tests

check: ## formatting, laws, and the tests that need no services
	scripts/check
	swift build --build-tests $(SWIFT_FLAGS) --scratch-path $(DEBUG_BUILD)
	swift test --skip-build --no-parallel $(SWIFT_FLAGS) --scratch-path $(DEBUG_BUILD) --skip '$(NEEDS_SERVICES)' --skip '$(SOAK_ONLY)'

test: ## everything, on real services that are started and stopped
	scripts/test

simulate: ## SEEDS simulated farms on virtual time, and every mutant; the release build
	scripts/setup test
	swift build -c release $(SWIFT_FLAGS) --scratch-path $(RELEASE_BUILD) --product kiln-simulate
	$(RELEASE_BUILD)/release/kiln-simulate --seeds $(SEEDS) --first $(FIRST)
	$(RELEASE_BUILD)/release/kiln-simulate --mutants

soak: ## hundreds of faults, the thread sanitizer, emulated platforms: SOAK_STAGES
	scripts/soak

bench: ## the release build, and how fast it is
	scripts/bench

clean: ## stop the services and remove all that was built or made
	scripts/services down
	rm -rf $(DEBUG_BUILD) $(RELEASE_BUILD) $(TSAN_BUILD) .farm
