package caddymodule

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-intents/caddy-intents/adapter"
)

// adaptBlock reads a job block back.
func adaptBlock(t *testing.T, text string) (*Job, error) {
	t.Helper()
	require.Equal(t, string(caddyfile.Format([]byte(text))), text, "not as `caddy fmt` writes it")
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(":80 {\nintents localhost:8000 {\nwebhook_hosts hooks.example.com\n"+text+"}\n}\n"), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, err
	}
	jobs := jobsIn(t, adapted)
	require.Len(t, jobs, 1)
	return jobs[0], nil
}

// jobsIn finds the jobs in an adapted Caddyfile.
func jobsIn(t *testing.T, adapted []byte) (jobs []*Job) {
	t.Helper()
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, inner := range v {
				look(inner)
			}
		case map[string]any:
			if v["handler"] != "intents" {
				for _, inner := range v {
					look(inner)
				}
				return
			}
			data, err := json.Marshal(v["jobs"])
			require.NoError(t, err)
			var found []*Job
			require.NoError(t, json.Unmarshal(data, &found))
			jobs = append(jobs, found...)
		}
	}
	var config any
	require.NoError(t, json.Unmarshal(adapted, &config))
	look(config)
	return jobs
}

// Whatever a Caddyfile can say of a job is written so that it is read as before.
func TestAJobIsReadBackAsItIsWritten(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	require.NoError(t, err)
	tried := 0
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "bad_") {
			continue
		}
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		_, adapted, _ := strings.Cut(string(content), "----------\n")
		for _, job := range jobsIn(t, []byte(adapted)) {
			tried++
			again, err := adaptBlock(t, job.caddyfile())
			require.NoError(t, err, "%s:\n%s", file, job.caddyfile())
			want, err := json.Marshal(job)
			require.NoError(t, err)
			got, err := json.Marshal(again)
			require.NoError(t, err)
			require.JSONEq(t, string(want), string(got), file)
		}
	}
	require.NotZero(t, tried)
}

// What `caddy intents presets <name>` prints is the preset, and can be pasted.
func TestAPrintedPresetIsReadBackAsThePreset(t *testing.T) {
	for _, name := range adapter.PresetNames() {
		p, err := adapter.BuiltinPreset(name)
		require.NoError(t, err)
		job, err := jobOf(p)
		require.NoError(t, err, name)
		if job.Submit.Path == "" {
			job.Submit.Method, job.Submit.Path = "POST", "/jobs"
		}
		again, err := adaptBlock(t, job.caddyfile())
		require.NoError(t, err, "%s:\n%s", name, job.caddyfile())
		want, err := json.Marshal(job)
		require.NoError(t, err)
		got, err := json.Marshal(again)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(got), name)
	}
}

func TestWordsAreWrittenAsTheLexerReadsThem(t *testing.T) {
	for _, word := range []string{"plain", "a b", `"quoted"`, "with `backticks` and \"quotes\"", "{", "#no comment", `body["task-id"]`, "a\\b", "<<EOF", "{job_id}"} {
		tokens, err := caddyfile.Tokenize([]byte("word "+quoted(word)+"\n"), "Caddyfile")
		require.NoError(t, err, word)
		require.Len(t, tokens, 2, word)
		require.Equal(t, word, tokens[1].Text)
	}
}

const presetsPage = "../docs/presets.md"

//go:generate go test -trimpath -tags nobadger,nomysql,nopgx -run TestThePageOfPresetsIsUpToDate . -update

// TestThePageOfPresetsIsUpToDate compares docs/presets.md with the presets; with
// -update it writes the page.
func TestThePageOfPresetsIsUpToDate(t *testing.T) {
	page, err := presetsDocument()
	require.NoError(t, err)
	if flag.Lookup("update").Value.String() == "true" {
		require.NoError(t, os.WriteFile(presetsPage, []byte(page), 0o600))
	}
	written, err := os.ReadFile(presetsPage)
	require.False(t, errors.Is(err, os.ErrNotExist), "go generate ./caddymodule writes it")
	require.NoError(t, err)
	require.Equal(t, page, string(written), "go generate ./caddymodule writes it")
}
