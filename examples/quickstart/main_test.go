package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
)

// TestMain lets a test run the command itself, as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("BE_QUICKSTART") != "" {
		main()
	}
	os.Exit(m.Run())
}

var (
	siteLine   = regexp.MustCompile(`in front of it: +(http://localhost:\d+)\n`)
	intentLine = regexp.MustCompile(`(?m)^intent ([0-9a-f-]{36})$`)
	statusLine = regexp.MustCompile(`(?m)^ *\d+\.\d s  ([A-Z_]+)`)
	countLine  = regexp.MustCompile(`The service got 1 POST and\n([1-9]\d*) polls`)
	streamLine = regexp.MustCompile(`curl -N (http://\S+/events/stream)\n`)
)

// find returns what the group of re matches.
func find(t *testing.T, re *regexp.Regexp, text string) string {
	t.Helper()
	m := re.FindStringSubmatch(text)
	require.NotNil(t, m, "no %s in:\n%s", re, text)
	return m[1]
}

func get(t *testing.T, url, lastEventID string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestTheStoryIsTrue(t *testing.T) {
	var out bytes.Buffer
	dir := t.TempDir()
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	require.NoError(t, run(&out, dir, time.Second))
	told := out.String()

	require.Contains(t, told, `"status":"pending","intent_id":"`+find(t, intentLine, told)+`"`)
	var statuses []string
	for _, m := range statusLine.FindAllStringSubmatch(told, -1) {
		if len(statuses) == 0 || statuses[len(statuses)-1] != m[1] {
			statuses = append(statuses, m[1])
		}
	}
	require.Equal(t, []string{"CREATED", "SUBMITTED", "DELIVERED", "IN_PROGRESS", "COMPLETED"}, statuses)
	find(t, countLine, told)
	require.FileExists(t, dir+"/intents.db")
	require.FileExists(t, dir+"/caddy.log")

	site := find(t, siteLine, told)
	code, body := get(t, site+"/", "")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, string(page), body)

	for path, known := range map[string]bool{"/reports/generate": true, "/before/reports/generate": false} {
		resp, err := http.Post(site+path, "application/json", nil)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusAccepted, resp.StatusCode, path)
		require.Equal(t, known, resp.Header.Get("Intent-Id") != "", "%s: whether the plugin knows the path", path)
	}

	stream := find(t, streamLine, told)
	code, body = get(t, stream, "")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, strings.Count(told, " s  "), strings.Count(body, "\nevent: intent."), "the replay has every event that was printed")
	ids := regexp.MustCompile(`(?m)^id: (\d+)$`).FindAllStringSubmatch(body, -1)
	code, _ = get(t, stream, ids[len(ids)-1][1])
	require.Equal(t, http.StatusNoContent, code, "there is nothing after the end")
}
