# All builds use xcaddy's own flags, so that one build cache serves the tests, the
# examples and the binary: compiling Caddy the first time takes minutes.
TAGS := nobadger,nomysql,nopgx
export GOFLAGS := $(strip $(shell go env GOFLAGS) -trimpath -tags=$(TAGS))

# Tests that start real processes have the tag e2e, those that start foreign servers
# the tag backends, those of the store in Redis, which need redis-server, the tag redis.
E2E      := -tags=$(TAGS),e2e
BACKENDS := -tags=$(TAGS),backends
REDIS    := -tags=$(TAGS),redis
FAILPOINTS := -tags=$(TAGS),e2e,failpoints
ALL      := -tags=$(TAGS),e2e,backends,interop,redis,failpoints

# Packages whose tests link Caddy. A race build of Caddy takes minutes of its own;
# all that is concurrent in here is in the others.
CADDY  := github.com/caddyserver/caddy/v2
LINKED  = $(shell go list -test $(E2E) -f '{{$$p := .}}{{range .Deps}}{{if eq . "$(CADDY)"}}{{$$p.ImportPath}}{{"\n"}}{{end}}{{end}}' ./... | sed 's/ .*//; s/\.test$$//; s/_test$$//' | sort -u)
CORE    = $(filter-out $(LINKED),$(shell go list $(E2E) ./...))

# Each fuzz target runs for this long.
FUZZTIME ?= 20s
# Random executions of the reading path, of the XML reader, and of what hostile words go into,
# after that.
EXECS ?= 10000000
# Rounds of kill -9 in make soak; make test plays five.
ROUNDS ?= 500
# Intents whose observers are cut at random, while Caddy is killed and reloaded, in make soak; make test has 40.
CUTS ?= 1000
# Rounds of 256 equal POSTs at once in make soak; make test has 50.
EQUALS ?= 1000
# Failovers of Redis under load in make soak; make test has 3. For so many seconds it hangs; in make test 8.
FAILOVERS ?= 20
HANG ?= 30
# Observers that are cut at once and come back in make soak; make test has 2,000.
CROWD ?= 5000
# Deaths at each failpoint in make faults; make test has 1.
TIMES ?= 20
# Reloads under load in make faults; make test has 15.
RELOADS ?= 300
# Schedules of faults of a backend, each against a real Caddy, in make faults; make test has 6.
BACKEND_SCHEDULES ?= 500
# Simulated schedules in make faults, and races of a cancel with the end and the
# deadline; make test has 60 and 100.
SCHEDULES ?= 5000
RACES ?= 10000
# Simulated schedules in make soak, about half an hour of them.
SIMULATED ?= 100000
# Intents that run while the dashboard is looked at in make soak; make test has 2,000.
ACTIVE ?= 10000
# Times that the disk of a store is filled in make faults; make test has 4.
DISK_CYCLES ?= 50

.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: ## the whole suite, with real processes; brings what it needs
	tools/need gcc gcc libc6-dev
	tools/need python3 python3
	tools/need node nodejs
	tools/need javac default-jdk-headless
	tools/need mcs mono-mcs
	tools/need chromium chromium
	tools/need chromedriver chromium-driver
	tools/need strace strace
	tools/need redis-server redis-server
	tools/need curl curl
	tools/tested -race -timeout 30m $(CORE)
	tools/tested -race -timeout 20m $(REDIS) ./store/redisstore
	tools/tested -timeout 20m $(E2E) ./examples/cluster/...
	tools/tested -timeout 20m $(E2E) $(LINKED)
	tools/tested -timeout 20m $(FAILPOINTS) -run ADeathAtAnyStep ./caddymodule

check: ## vet, format, modernity, staticcheck, who imports whom, examples in the docs
	go vet $(ALL) ./...
	tools/formatted
	go fix -diff $(ALL) ./...
	go tool -modfile=tools/go.mod staticcheck $(ALL) ./...
	go test deps_test.go
	go test snippets_test.go

bench: ## the budgets of docs/performance.md, each PASS or FAIL beside its baseline
	go run ./bench

soak: ## the crash tests for a long time, ROUNDS=500; simulated schedules, SIMULATED=100000; observers cut at random, CUTS=1000; crowds, EQUALS=1000 CROWD=5000; a dashboard of ACTIVE=10000
	INTENTS_SCHEDULES=$(SIMULATED) go test -count=1 -timeout 4h -v -run Simulated ./internal/simulation
	INTENTS_ROUNDS=$(ROUNDS) go test -count=1 -timeout 2h -v -run 'Kill' $(E2E) $(LINKED)
	INTENTS_CUTS=$(CUTS) go test -count=1 -timeout 30m -v -run 'CutAtRandom' $(E2E) ./caddymodule
	INTENTS_FAILOVERS=$(FAILOVERS) go test -count=1 -timeout 1h -v -run 'Failover' $(REDIS) ./store/redisstore
	INTENTS_FAILOVERS=$(FAILOVERS) INTENTS_HANG=$(HANG) INTENTS_EQUALS=$(EQUALS) go test -count=1 -timeout 1h -v -run 'Failover|Hangs|EqualRequests' $(E2E) ./caddymodule
	INTENTS_EQUALS=$(EQUALS) INTENTS_CROWD=$(CROWD) go test -count=1 -timeout 1h -v -run 'Crowd' $(E2E) ./caddymodule
	INTENTS_ACTIVE=$(ACTIVE) go test -count=1 -timeout 10m -v -run 'DashboardOnMany' $(E2E) ./caddymodule

faults: ## every fault of docs/faults.md at its full count, TIMES=20 RELOADS=300 BACKEND_SCHEDULES=500 SCHEDULES=5000 RACES=10000 DISK_CYCLES=50; as root on Linux, under 15 minutes
	tools/need strace strace
	INTENTS_TIMES=$(TIMES) go test -count=1 -timeout 20m -v -run ADeathAtAnyStep $(FAILPOINTS) ./caddymodule
	INTENTS_BACKEND_SCHEDULES=$(BACKEND_SCHEDULES) go test -count=1 -timeout 20m -parallel 8 -v -run BackendFaultSchedules $(E2E) ./caddymodule
	INTENTS_RELOADS=$(RELOADS) go test -count=1 -timeout 20m -v -run ReloadsUnderLoad $(E2E) ./caddymodule
	INTENTS_SCHEDULES=$(SCHEDULES) INTENTS_RACES=$(RACES) go test -count=1 -timeout 20m -v -run 'Simulated|Races' ./internal/simulation
	INTENTS_DISK_CYCLES=$(DISK_CYCLES) INTENTS_EIO=0 go test -count=1 -timeout 20m -parallel 8 -v -run 'AFullDisk|EveryWriteThatFails' $(E2E) ./caddymodule

fuzz: ## every fuzz target, FUZZTIME=20s each; then EXECS=10000000 random answers, XML bodies and hostile words
	tools/fuzz $(FUZZTIME)
	INTENTS_EXECS=$(EXECS) go test -count=1 -timeout 2h -v -run Random ./adapter ./observe

interop: ## other people's SSE clients against a drain and an end; needs the npm registry and the Go proxy
	tools/need node nodejs
	tools/need npm npm
	npm --prefix examples/clients/interop ci --no-audit --no-fund
	cd examples/clients/interop && go build -o go-sse .
	go test -count=1 -v -tags=$(TAGS),e2e,interop -run Foreign ./examples/clients

e2e-backends: ## LXD, Slurm and aria2 behind the plugin; as root on Debian, where it installs them
	tools/need unshare util-linux
	tools/need ip iproute2
	tools/need lxd lxd
	tools/need slurmrestd slurmrestd slurmctld slurmd slurm-client slurm-wlm-jwt-plugin munge
	tools/need aria2c aria2
	go test -count=1 -v $(BACKENDS) ./examples/backends

build: ## Caddy with the plugin, ./caddy
	go build -o caddy ./cmd/caddy

.PHONY: help test check bench soak faults fuzz interop e2e-backends build
