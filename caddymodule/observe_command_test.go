package caddymodule

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

// observed runs the command on what a server says, one answer for each connection, and
// gives what it printed, its exit code, and the cursors that the server was sent.
func observed(t *testing.T, answers ...http.HandlerFunc) (out string, code int, cursors []string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cursors = append(cursors, r.Header.Get("Last-Event-ID"))
		if len(answers) == 0 { // it comes back too often, which the number of cursors tells
			w.WriteHeader(http.StatusGone)
			return
		}
		answer := answers[0]
		answers = answers[1:]
		answer(w, r)
	}))
	defer server.Close()
	cmd := observeCommand()
	var b bytes.Buffer
	cmd.SetOut(&b)
	cmd.SetErr(&b)
	cmd.SetContext(t.Context())
	require.NoError(t, cmd.ParseFlags([]string{"--header", "Authorization: Bearer mine"}))
	code = exitCode(runObserve(cmd, []string{server.URL}))
	return b.String(), code, cursors
}

// says is an answer with frames, cut if the last one is "cut".
func says(frames ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer mine" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprint(w, "retry: 1\n\n")
		for _, f := range frames {
			if f == "cut" {
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
			fmt.Fprint(w, f)
		}
	}
}

func code(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) }
}

func TestObserveGoesOnWhereTheStreamBroke(t *testing.T) {
	id := intent.NewID(time.Now(), 0)
	event := func(seq int, status intent.Status) string {
		return fmt.Sprintf("id: %d\ndata: {\"intent_id\":%q,\"seq\":%d,\"status\":%q}\n\n", seq, id, seq, status)
	}
	for want, answers := range map[int][]http.HandlerFunc{
		0:            {says(event(1, intent.Created), "cut"), code(503), says(event(2, intent.InProgress)), says(event(3, intent.Completed))},
		exitFailed:   {says(event(1, intent.Created), "cut"), says("cut"), says(event(2, intent.Failed), "cut"), code(204)},
		exitTimedOut: {says(event(1, intent.InProgress)), says(event(2, intent.TimedOut))},
		exitRunning:  {code(204)},
		exitNone:     {code(404)},
		1:            {code(401)},
	} {
		out, got, cursors := observed(t, answers...)
		require.Equal(t, want, got, out)
		require.Len(t, cursors, len(answers))
		require.Empty(t, cursors[0])
		if len(cursors) > 2 {
			require.Equal(t, "1", cursors[1])
			require.Equal(t, "2", cursors[len(cursors)-1])
		}
	}
}

func TestObserveGivesItsHeadersToNoOtherHost(t *testing.T) {
	var got []http.Header
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header) }))
	defer other.Close()
	leads := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
	}
	id := intent.NewID(time.Now(), 0)
	_, code, _ := observed(t, leads(other.URL+"/?token=hush"))
	require.Equal(t, 1, code)
	require.Empty(t, got)
	_, code, _ = observed(t, leads("/elsewhere"), says(fmt.Sprintf("data: {\"intent_id\":%q,\"status\":\"COMPLETED\"}\n\n", id)))
	require.Zero(t, code)
}

func TestA404OfAStreamSaysNothingAboutThePlugin(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	resp, err := http.Get(server.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.EqualError(t, readProblem(resp), "404 Not Found")
}

func TestObserveReadsTheWordsOfABackend(t *testing.T) {
	id := intent.NewID(time.Now(), 0)
	out, got, _ := observed(t, says(
		fmt.Sprintf("data: {\"status\":\"baking\\u001b[2J\",\"intent\":{\"id\":%q,\"seq\":4,\"status\":\"IN_PROGRESS\"}}\n\n", id),
		fmt.Sprintf("data: {\"status\":\"burnt\u009b2J\",\"intent\":{\"id\":%q,\"seq\":5,\"status\":\"CANCELED\"}}\n\n", id)))
	require.Equal(t, exitCanceled, got)
	require.Contains(t, out, "baking")
	require.NotContains(t, out, "\x1b")
	require.NotContains(t, out, "\u009b")
}
