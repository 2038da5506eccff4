//go:build e2e

package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheScriptTellsItsStory runs all of it: six processes, one of which is killed.
func TestTheScriptTellsItsStory(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "../run", "--once")
	cmd.Env = append(os.Environ(), "SECONDS_PER_REPORT=20", fmt.Sprint("PORT=", freePorts(t)))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends what it has started
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), `"event_type":"intent.completed"`)
	require.Regexp(t, `polled by: [abc] [abc] \n`, string(out), "one was killed, and one went on")
}

// freePorts is the first of six ports in a row that nobody listens on just now.
func freePorts(t *testing.T) int {
	for range 100 {
		first, free := 20000+rand.IntN(9000), true
		for port := first; port < first+6; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if free = free && err == nil; err == nil {
				l.Close()
			}
		}
		if free {
			return first
		}
	}
	require.Fail(t, "no ports are free")
	return 0
}
