package caddymodule

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/probe"
)

// probed runs the command and gives what it prints.
func probed(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := probeCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	cmd.SilenceErrors = true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// blockIn is the job block at the end of what a probe prints.
func blockIn(t *testing.T, output string) string {
	t.Helper()
	i := strings.LastIndex(output, "\njob job {\n")
	require.GreaterOrEqual(t, i, 0, output)
	return output[i+1:]
}

func capture(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "capture.txt")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

const reports = `-- submit --
POST /reports/generate
Host: api.example.com

{}
HTTP/1.1 202 Accepted
Content-Type: application/json

{"job_id":"r-1","status":"pending"}
-- poll-1 --
HTTP/1.1 200 OK

{"status":"baking","percent":40,"step":"adding up"}
-- poll-2 --
HTTP/1.1 200 OK

{"status":"done","percent":100}
`

func TestAProbePrintsABlockThatCaddyAdapts(t *testing.T) {
	output, err := probed(t, "--replay", capture(t, reports), "--status", "/reports/status/{job_id}")
	require.NoError(t, err)
	require.Contains(t, output, `the job's id is "r-1"`)
	require.Contains(t, output, `! The state "baking" is unknown`)
	job, err := adaptBlock(t, blockIn(t, output))
	require.NoError(t, err, output)
	require.Equal(t, adapter.Route{Method: "POST", Path: "/reports/generate"}, job.Submit)
	require.Equal(t, "body.job_id", job.JobID)
	require.Equal(t, []string{"baking"}, job.State.Words["in_progress"])
}

func TestAProbeOfALiveAPIPrintsABlockWithoutItsToken(t *testing.T) {
	polls := 0
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer s3cret":
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write([]byte(`{"id":"7"}`))
		default:
			polls++
			_, _ = w.Write([]byte([]string{`{"state":"running"}`, `{"state":"done"}`}[min(polls-1, 1)]))
		}
	}))
	defer backend.Close()
	output, err := probed(t, "--submit", "POST "+backend.URL+"/jobs", "--data", "{}", "--status", "/jobs/{job_id}",
		"--header", "Authorization: Bearer s3cret", "--header", "Host: api.internal", "--interval", "1ms", "--linger", "0s")
	require.NoError(t, err)
	require.Contains(t, output, "COMPLETED")
	require.NotContains(t, output, "s3cret")
	job, err := adaptBlock(t, blockIn(t, output))
	require.NoError(t, err, output)
	require.Equal(t, http.Header{"Authorization": {"{env.AUTHORIZATION}"}}, job.Status.Header)
}

func TestAProbeByAPresetPrintsThePresetsName(t *testing.T) {
	output, err := probed(t, "--preset", "lxd", "--replay", "../adapter/testdata/preset_lxd.txtar")
	require.NoError(t, err)
	job, err := adaptBlock(t, blockIn(t, output))
	require.NoError(t, err, output)
	require.Equal(t, "lxd", job.Preset)
	require.Equal(t, "/1.0/instances", job.Submit.Path)
	require.Contains(t, output, "because of the rule failed when body.metadata.status_code >= 400")
}

func TestAProbesJSONIsTheReport(t *testing.T) {
	output, err := probed(t, "--json", "--replay", capture(t, reports), "--status", "/reports/status/{job_id}")
	require.NoError(t, err)
	var report probe.Report
	require.NoError(t, json.Unmarshal([]byte(output), &report))
	require.Equal(t, "r-1", report.Job)
	require.Len(t, report.Steps, 3)
}

func TestAProbeThatCannotBeRunIsRefusedWithTheFlag(t *testing.T) {
	for want, args := range map[string][]string{
		`--submit: "" is no request with a whole URL`:   {},
		`--submit: "POST /jobs" is no request`:          {"--submit", "POST /jobs"},
		`--submit: "http://me:pw@h/jobs" is no request`: {"--submit", "http://me:pw@h/jobs"},
		`--header: write "<name>: <value>"`:             {"--submit", "http://h/jobs", "--header", "secret"},
		`--preset: "lxc" is unknown`:                    {"--submit", "http://h/jobs", "--preset", "lxc"},
		`--replay: open nowhere.txt`:                    {"--replay", "nowhere.txt"},
		`--replay: the submit is in the capture`:        {"--replay", "x", "--submit", "http://h/jobs"},
		`status: "/jobs" does not contain {job_id}`:     {"--submit", "http://h/jobs", "--status", "/jobs"},
	} {
		_, err := probed(t, args...)
		require.ErrorContains(t, err, want)
	}
}

func TestPresetsAreListedAndPrinted(t *testing.T) {
	presets := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := presetsCommand()
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		cmd.SetArgs(args)
		err := cmd.Execute()
		return out.String(), err
	}
	listed, err := presets()
	require.NoError(t, err)
	require.Contains(t, listed, "jenkins                      Builds of Jenkins")
	require.Contains(t, listed, "(experimental)")
	names, err := presets("--json")
	require.NoError(t, err)
	require.Contains(t, names, `"jenkins"`)

	block, err := presets("lxd")
	require.NoError(t, err)
	require.Contains(t, block, "\njob lxd {\n")
	file, err := presets("--json", "lxd")
	require.NoError(t, err)
	p, err := adapter.ParsePreset("lxd", []byte(file))
	require.NoError(t, err)
	require.NotEmpty(t, p.Sources)
	_, err = presets("lxc")
	require.ErrorContains(t, err, `"lxc" is unknown`)
}

// Time that the flags give is not more than a person would wait.
func TestAProbeStopsAtItsLimit(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"id":"7","state":"running"}`))
	}))
	defer backend.Close()
	begun := time.Now()
	output, err := probed(t, "--submit", "POST "+backend.URL+"/jobs", "--status", "/jobs/{job_id}", "--interval", "10ms", "--limit", "100ms")
	require.NoError(t, err)
	require.Less(t, time.Since(begun), 5*time.Second)
	require.Contains(t, output, "give it more with --limit")
}

func TestACancelWithoutAReasonIsToldWithoutOne(t *testing.T) {
	v := row{Status: intent.Canceled, Error: &intent.Error{Code: intent.CodeCanceled}}
	require.Equal(t, "canceled", v.note(time.Now()))
	v.Error.Message = "by mistake"
	require.Equal(t, "canceled: by mistake", v.note(time.Now()))
}
