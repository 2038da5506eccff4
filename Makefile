# All builds use xcaddy's own flags, so that one build cache serves the tests, the
# examples and the binary: compiling Caddy the first time takes minutes.
TAGS := nobadger,nomysql,nopgx
export GOFLAGS := $(strip $(shell go env GOFLAGS) -trimpath -tags=$(TAGS))

# Tests that start real processes have the tag e2e.
E2E := -tags=$(TAGS),e2e

# Packages whose tests link Caddy. A race build of Caddy takes minutes of its own;
# all that is concurrent in here is in the others.
CADDY  := github.com/caddyserver/caddy/v2
LINKED  = $(shell go list -test -f '{{$$p := .}}{{range .Deps}}{{if eq . "$(CADDY)"}}{{$$p.ImportPath}}{{"\n"}}{{end}}{{end}}' ./... | sed 's/ .*//; s/\.test$$//' | sort -u)
CORE    = $(filter-out $(LINKED),$(shell go list ./...))

# Each fuzz target runs for this long.
FUZZTIME ?= 20s
# Rounds of kill -9 in make soak; make test plays five.
ROUNDS ?= 50

.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: ## the whole suite, with real processes; brings what it needs
	tools/need gcc gcc libc6-dev
	go test -race $(CORE)
	go test -timeout 20m $(E2E) $(LINKED)

check: ## vet, format, modernity, staticcheck, who imports whom, examples in the docs
	go vet $(E2E) ./...
	tools/formatted
	go fix -diff $(E2E) ./...
	go tool -modfile=tools/go.mod staticcheck -tags=$(TAGS),e2e ./...
	go test deps_test.go
	go test snippets_test.go

bench: ## the budgets of docs/performance.md, each PASS or FAIL beside its baseline
	go run ./bench

soak: ## the crash tests for a long time: ROUNDS=50
	INTENTS_ROUNDS=$(ROUNDS) go test -count=1 -timeout 2h -v -run 'Kill' $(E2E) $(LINKED)

fuzz: ## every fuzz target, FUZZTIME=20s each
	tools/fuzz $(FUZZTIME)

build: ## Caddy with the plugin, ./caddy
	go build -o caddy ./cmd/caddy

.PHONY: help test check bench soak fuzz build
