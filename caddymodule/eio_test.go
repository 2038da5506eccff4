//go:build e2e && linux

package caddymodule_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// fileCalls are the system calls by which the store's file is changed.
var fileCalls = []string{"pwrite64", "fdatasync", "fsync", "ftruncate"}

// A failing is a call that fails: the n-th of each thread, since strace counts so, or
// all from then on.
type failing struct {
	call string
	n    int
	dead bool
}

func (f failing) String() string {
	if f.dead {
		return fmt.Sprintf("%s %d+", f.call, f.n)
	}
	return fmt.Sprintf("%s %d", f.call, f.n)
}

// TestEveryWriteThatFailsCostsIntentsOnly lets calls that change the store's file fail
// in a real Caddy.
func TestEveryWriteThatFailsCostsIntentsOnly(t *testing.T) {
	begun := time.Now()
	random := rand.New(rand.NewPCG(soak.Seed(t), 0))
	if n := soak.Number(t, "INTENTS_EIO", 4); n > 0 {
		var some []failing
		for range n {
			some = append(some, failing{fileCalls[random.IntN(len(fileCalls))], 1 + random.IntN(12), random.IntN(2) == 0})
		}
		failWrites(t, some)
		return
	}
	trials, injected := 0, 0
	for _, call := range fileCalls {
		for _, dead := range []bool{false, true} {
			for n, reached := 1, true; reached; {
				var some []failing
				for range 8 {
					some = append(some, failing{call, n, dead})
					n++
				}
				for _, failed := range failWrites(t, some) {
					trials, injected = trials+1, injected+failed
					reached = reached && failed > 0
				}
			}
		}
	}
	t.Logf("%d trials, %d failed calls, in %s", trials, injected, time.Since(begun).Round(time.Second))
}

// failWrites plays trials side by side and returns how many calls failed in each.
func failWrites(t *testing.T, some []failing) (injected []int) {
	injected = make([]int, len(some))
	t.Run("some", func(t *testing.T) {
		for i, f := range some {
			t.Run(f.String(), func(t *testing.T) {
				t.Parallel()
				injected[i] = failWrite(t, f)
			})
		}
	})
	return injected
}

// failWrite is one trial. It returns how many calls failed.
func failWrite(t *testing.T, f failing) (injected int) {
	when := strconv.Itoa(f.n)
	if f.dead {
		when += "+"
	}
	p := newPressed(t)
	p.configure(report)
	trace := filepath.Join(t.TempDir(), "trace")
	p.Under = []string{"strace", "-f", "-D", "-q", "-o", trace, "-P", p.store, "-P", p.store + ".new",
		"-e", "trace=" + strings.Join(fileCalls, ","), "-e", "inject=" + f.call + ":error=EIO:when=" + when}
	p.Start()
	for range 6 {
		p.oldClient()
	}
	if !f.dead {
		p.heals()
		p.ends()
	}
	written, err := os.ReadFile(trace)
	require.NoError(t, err)
	p.oldClient() // by its end what has failed is in the log
	p.alive()
	if injected = strings.Count(string(written), "(INJECTED)"); injected > 0 {
		require.Contains(t, p.Log.String(), "input/output error")
		require.Contains(t, p.Log.String(), p.store)
		require.Contains(t, p.Log.String(), `"do":"look at `)
	}
	t.Logf("%d calls failed, the store broke down %d times, %d submits passed through",
		injected, strings.Count(p.Log.String(), `"msg":"store broke down`), p.passed)
	p.Under = nil
	p.audit()
	p.Start()
	p.heals()
	p.ends()
	p.audit()
	return injected
}
