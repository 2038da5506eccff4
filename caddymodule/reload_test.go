//go:build e2e

package caddymodule_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// Jobs are changed, renamed, removed and come back, while clients submit and the
// backend has all kinds of troubles.
func TestReloadsUnderLoadLoseNothing(t *testing.T) {
	begun, seed := time.Now(), soak.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	n := int(soak.Number(t, "INTENTS_RELOADS", 15))
	tr := newTrial(t, seed)
	tr.jobsGo = true
	tr.start()
	stop := tr.load(100)
	changes := make(map[string]int)
	for range n {
		tr.misbehave(random)
		change := []string{"change", "rename", "remove"}[random.IntN(3)]
		which := kindNames[random.IntN(len(kindNames))]
		changes[change]++
		tr.configure(func(kind string) (name, interval string) {
			switch {
			case kind != which:
				return asUsual(kind)
			case change == "rename":
				return kind + "-renamed", "100ms"
			case change == "remove":
				return "", ""
			}
			return kind, []string{"100ms", "200ms", "300ms"}[random.IntN(3)]
		})
		tr.reload()
		<-time.After(time.Duration(random.IntN(200)) * time.Millisecond)
	}
	stop()
	tr.p.backend.Recovers()
	// Those that were submitted to a job by its other name are followed under that.
	var renamed []string
	for _, kind := range kindNames {
		renamed = append(renamed, jobBlock(kind+"-renamed", kind, "renamed/"+kind, "100ms"))
	}
	tr.configure(asUsual, renamed...)
	tr.reload()
	tr.finish()
	t.Logf("%d reloads, %v, %d clients, told %v, %d jobs, in %s", n, changes, tr.clients, tr.told, len(tr.p.backend.Jobs()), time.Since(begun).Round(time.Millisecond))
}

// reload gives the running Caddy its Caddyfile by the admin API.
func (tr *trial) reload() {
	tr.t.Helper()
	text, err := os.ReadFile(tr.p.File)
	require.NoError(tr.t, err)
	resp, err := http.Post("http://"+tr.p.Admin+"/load", "text/caddyfile", strings.NewReader(string(text)))
	require.NoError(tr.t, err)
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	require.NoError(tr.t, err)
	require.Equal(tr.t, http.StatusOK, resp.StatusCode, "%s", said)
}

// misbehave gives the backend another trouble, or ends them.
func (tr *trial) misbehave(random *rand.Rand) {
	faults := []legacytest.Fault{
		legacytest.Code(500, ""), legacytest.Code(503, "1"), legacytest.Code(429, ""), legacytest.HTML, legacytest.Truncated,
		legacytest.BrokenOff, legacytest.Reset, legacytest.AnswerLost, legacytest.Late(300 * time.Millisecond),
	}
	if random.IntN(3) == 0 {
		tr.p.backend.Recovers()
		return
	}
	kind := []legacytest.Kind{legacytest.Submits, legacytest.Polls, legacytest.Cancels}[random.IntN(3)]
	tr.p.backend.Meets(kind, faults[random.IntN(len(faults))], 1+random.IntN(30))
}
