//go:build backends

package backends_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

func TestSlurm(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	startBoxed(t, "slurm/start", dir).serves("unix", socket)
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	require.NoError(t, err)
	jwt := strings.TrimSpace(string(token))
	s := serve(t, "slurm", "SLURMRESTD_SOCKET="+socket, "SLURM_USER=root", "SLURM_JWT="+jwt)
	s.header.Set("X-SLURM-USER-NAME", "root")
	s.header.Set("X-SLURM-USER-TOKEN", jwt)
	s.header.Set("Content-Type", "application/json")
	var server struct {
		Meta struct{ Slurm struct{ Release string } }
	}
	s.read(&server, "GET", "/slurm/v0.0.38/ping", "")
	t.Log("slurmrestd", server.Meta.Slurm.Release)

	// A minute is the least that Slurm allows a job; it takes up to another to notice.
	tooLong := s.submit("/slurm/v0.0.38/job/submit", batch(t, "sleep 600", 1))

	well := s.submit("/slurm/v0.0.38/job/submit", batch(t, "sleep 1", 10))
	well.ends(intent.Completed)

	ill := s.submit("/slurm/v0.0.38/job/submit", batch(t, "exit 3", 10))
	require.Equal(t, "NonZeroExitCode", ill.ends(intent.Failed).Error.Message)

	long := s.submit("/slurm/v0.0.38/job/submit", batch(t, "sleep 600", 10))
	long.runs()
	s.ask("DELETE", "/slurm/v0.0.38/job/"+long.jobID, "")
	long.ends(intent.Canceled)

	require.Equal(t, intent.ByBackend, tooLong.ends(intent.TimedOut).Error.Category, "not our own deadline")
}

// batch is a submit of a script.
func batch(t *testing.T, script string, minutes int) string {
	job := map[string]any{
		"script": "#!/bin/sh\n" + script + "\n",
		"job": map[string]any{
			"name":                      "example",
			"time_limit":                minutes,
			"environment":               map[string]string{"PATH": "/usr/bin:/bin"},
			"current_working_directory": "/",
			"standard_output":           "/dev/null",
			"standard_error":            "/dev/null",
		},
	}
	text, err := json.Marshal(job)
	require.NoError(t, err)
	return string(text)
}
