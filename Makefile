# A change must pass `make test`. CONTRIBUTING.md explains the other targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

GO        ?= go
FUZZTIME  ?= 30s  # how long `make fuzz` gives each target
BENCH     ?=      # which benchmarks `make bench` runs, as a regular expression (default all)
COUNT     ?= 3    # how often it runs each
TEST_FLAGS ?=     # more flags for the test runs, for example -shuffle=on -count=1
PKG       ?= ./cache ./verify ./signin ./authcode ./credentials ./internal/redact # what `make mutants` mutates
FILE      ?= .    # which files `make mutants` and `make style` read, as a regular expression
RUN       ?= ^TestFleet # which tests `make load` runs, as a pattern of `go test -run`

# Tests of credentials that use neither SHA-1 nor testing/synctest, in which Go's FIPS 140-3 module finds no entropy.
FIPS_TESTS := FIPS140Only|AssertionsDiffer|SubjectNameAndIssuer|SignerIsUsed|Invalid.*AreRejected|SecretInfo

# The modules name each other with replace.
export GOWORK := off

TOOL := $(GO) tool -modfile=$(CURDIR)/tools/go.mod
GOLANGCI_LINT := $(GO) tool -modfile=$(CURDIR)/tools/golangci-lint/go.mod golangci-lint
SATELLITES := $(patsubst %/go.mod,%,$(wildcard stores/*/go.mod adapters/*/go.mod integration/recipes/go.mod))
MODULES := . integration integration/oauth2-proxy $(SATELLITES) tools tools/golangci-lint
say   = @printf '\n==> %s\n' "$(1)"

.PHONY: help
help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: quick
quick: gofmt ## The inner loop: formatting, go vet, unit tests without the race detector.
	$(call say,go vet)
	$(GO) vet ./...
	$(call say,Tests of the module)
	$(GO) test $(TEST_FLAGS) $$($(GO) list ./... | grep -v /examples)

.PHONY: test
test: install lint unit quickstart ## All that a change must pass; installs missing programs.
	$(call say,Stores and integration side by side: both wait more than they compute)
	@$(MAKE) --no-print-directory satellites & stores=$$!; \
		$(MAKE) --no-print-directory integration || failed=yes; \
		wait $$stores && [ -z "$${failed:-}" ]
	$(call say,Everything passed)

.PHONY: install
install: ## Install programs for the tests from Debian and npm; quick if they exist.
	$(call say,Installing programs for the tests)
	@integration/install.sh

.PHONY: gofmt
gofmt: # Part of other targets.
	$(call say,gofmt)
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then printf 'not formatted, run gofmt -w on:\n%s\n' "$$files"; exit 1; fi

.PHONY: lint
lint: gofmt style ## Formatting, language, tidy modules, go vet, golangci-lint, the Dockerfile.
	$(call say,go mod tidy: every module)
	@for module in $(MODULES); do echo "$$module"; $(GO) -C $$module mod tidy -diff; done
	$(call say,go vet)
	$(GO) vet ./...
	@set -x; for module in integration $(SATELLITES) tools; do $(GO) -C $$module vet ./...; done
	$(GO) -C tools test ./...
	$(call say,Dockerfile and compose file)
	$(GO) -C tools run ./containers ..
	$(call say,golangci-lint)
	$(GOLANGCI_LINT) run ./...
	@set -x; for module in integration $(SATELLITES); do (cd $$module && $(GOLANGCI_LINT) run ./...); done

.PHONY: style
style: ## The project's own check of its language; FILE limits it to some paths.
	$(call say,Language)
	@$(GO) -C tools run ./style -files '$(strip $(FILE))' ..

.PHONY: unit
unit: ## The module's own tests and fuzz seeds, with the race detector.
	$(call say,Tests of the module with the race detector)
	$(GO) test -race -timeout 15m $(TEST_FLAGS) ./...
	$(call say,Memory and time without the race detector: of 200000 assertions, and of parsing)
	$(GO) test -timeout 15m -run '^TestManyAssertions$$' -v .
	$(GO) test -timeout 15m -run 'Cost|^Fuzz' . ./authcode ./cmd/entra/internal/jwt ./credentials ./internal/redact \
		./internal/testkit ./obo ./signin ./verify
	$(call say,2000 random schedules of a fleet; about a minute)
	ENTRA_FLEET_SCHEDULES=2000 $(GO) test -timeout 15m -run '^TestFleetKeepsItsRules$$' ./cache
	$(call say,Credentials in a program that prohibits SHA-1)
	GODEBUG=fips140=only $(GO) test $(TEST_FLAGS) -run '$(FIPS_TESTS)' . ./credentials

.PHONY: quickstart
quickstart: ## The three flows end to end on the fake Entra.
	$(call say,Example: quickstart)
	$(GO) run ./examples/quickstart </dev/null

.PHONY: satellites
satellites: install ## The modules of stores, adapters and recipes, against real servers.
	$(call say,Stores and adapters and recipes with the race detector)
	@set -x; for module in $(SATELLITES); do $(GO) -C $$module test -race -timeout 15m $(TEST_FLAGS) ./...; done

.PHONY: integration
integration: install ## Other clients and a real browser against the fake Entra.
	$(call say,Integration tests with the race detector)
	$(GO) -C integration test -race -timeout 15m $(TEST_FLAGS) ./...

.PHONY: load
load: install ## The long load and fault tests of fleets of real processes; about 35 minutes. RUN limits it to some.
	$(call say,Fleets of 20 processes with 500 users)
	@set -x; for module in $(patsubst %/go.mod,%,$(wildcard stores/*/go.mod)); do \
		ENTRA_FLEET_LOAD=full $(GO) -C $$module test -v -count=1 -timeout 90m -run '$(strip $(RUN))' .; done

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (default 30s) each.
	@GO="$(GO)" tools/fuzz.sh $(FUZZTIME)

.PHONY: mutants
mutants: ## Mutation tests of the packages in PKG; fails below 90 % killed. Takes hours without PKG and FILE.
	@GO="$(GO)" tools/mutants.sh -f '$(strip $(FILE))' $(PKG)

.PHONY: bench
bench: ## Compare with peers; writes docs/benchmarks.md. BENCH selects benchmarks, COUNT repeats them.
	$(call say,Benchmarks)
	@mkdir -p bin
	$(GO) -C integration run ./bench/table -docs ../docs -raw ../bin/bench.txt -count $(COUNT) -bench '$(strip $(BENCH))'
	$(call say,Summary of bin/bench.txt)
	@$(TOOL) benchstat bin/bench.txt

.PHONY: fleet
fleet: ## Simulate fleets of processes; writes docs/fleet.md and its plots (some minutes).
	$(call say,Days in a fleet)
	$(GO) -C integration run ./fleet/draw -docs ../docs

.PHONY: cover
cover: ## Test coverage by function and in total; the profile is bin/cover.out.
	$(call say,Coverage)
	@mkdir -p bin
	$(GO) test -timeout 15m -coverprofile bin/cover.out \
		-coverpkg "$$($(GO) list ./... | grep -v /examples | paste -sd, -)" ./...
	@$(GO) tool cover -func bin/cover.out

.PHONY: apidiff
apidiff: ## Compare the exported API with the latest release tag.
	$(call say,API compatibility)
	@GO="$(GO)" tools/apidiff.sh

.PHONY: vuln
vuln: ## Known vulnerabilities in the code that the module calls; queries the vulnerability database.
	$(call say,govulncheck)
	$(TOOL) govulncheck ./...

.PHONY: clean
clean: ## Remove the files that the targets above made.
	rm -rf bin dist notes.md integration/node/node_modules
