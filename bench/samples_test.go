package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const traces = `File: bench
Type: cpu
Duration: 12.05s, Total samples = 60ms
-----------+-------------------------------------------------------
         2   runtime.memmove
             runtime.duffcopy
             github.com/caddy-intents/caddy-intents/caddymodule.meteredStore.Create
             github.com/caddy-intents/caddy-intents/engine.(*Engine).create
-----------+-------------------------------------------------------
         3   go.etcd.io/bbolt.(*Cursor).seek
             github.com/caddy-intents/caddy-intents/store/boltstore.(*txn).find
             github.com/caddy-intents/caddy-intents/caddymodule.meteredStore.Get
             github.com/caddy-intents/caddy-intents/engine.(*Engine).load
-----------+-------------------------------------------------------
         1   github.com/prometheus/client_golang/prometheus.(*counter).Inc (inline)
             github.com/caddy-intents/caddy-intents/caddymodule.(*metrics).Polled
             github.com/caddy-intents/caddy-intents/engine.(*Engine).measure
-----------+-------------------------------------------------------
         4   internal/runtime/syscall.Syscall6
             net.(*conn).Write
`

func TestTheInnermostOfOurFunctionsSaysWhatASampleIsAbout(t *testing.T) {
	var s samples
	require.NoError(t, s.parse(traces))
	require.NoError(t, s.parse(traces))
	require.Equal(t, samples{all: 20, through: 10, metering: 6}, s)
}

func TestWhatIsNoProfileIsNotTakenForOneWithoutMetrics(t *testing.T) {
	require.Error(t, new(samples).parse("File: bench\n-----------+---\n     10ms   runtime.futex\n"))
}
