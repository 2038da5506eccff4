package legacytest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// ask sends a request on a real connection.
func ask(t *testing.T, url, method, path string) (int, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader("order"))
	require.NoError(t, err)
	r.Header.Set(legacytest.ClientHeader, "me")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(body), err
}

func serve(t *testing.T, b *legacytest.Backend) string {
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestTheAPIOfThePitch(t *testing.T) {
	b := legacytest.New()
	url := serve(t, b)
	want := func(method, path string, code int, body string) {
		t.Helper()
		gotCode, gotBody, err := ask(t, url, method, path)
		require.NoError(t, err)
		require.Equal(t, code, gotCode)
		require.JSONEq(t, body, gotBody)
	}
	want("POST", "/reports/generate", 202, `{"job_id":"job-1","status":"pending"}`)
	want("GET", "/reports/status/job-1", 200, `{"job_id":"job-1","status":"pending","percent":0}`)
	b.SaysAll("job-1", legacytest.Status{State: "running", Percent: 40, Step: "rendering"})
	want("GET", "/reports/status/job-1", 200, `{"job_id":"job-1","status":"running","percent":40,"step":"rendering"}`)
	b.Finishes("job-1")
	want("GET", "/reports/status/job-1", 200, `{"job_id":"job-1","status":"done","url":"/reports/files/job-1.pdf"}`)
	want("DELETE", "/reports/status/job-1", 409, `{"error":"the job is over"}`)
	b.Fails("job-1", "no paper")
	want("GET", "/reports/status/job-1", 200, `{"job_id":"job-1","status":"failed","error":{"message":"no paper"}}`)
	b.Says("job-1", "running", 50)
	want("DELETE", "/reports/status/job-1", 200, `{"job_id":"job-1","status":"cancelled"}`)
	b.Forgets("job-1")
	want("GET", "/reports/status/job-1", 404, `{"error":"no such job"}`)
}

func TestJobsWithALifeOfTheirOwn(t *testing.T) {
	b := legacytest.New()
	b.EveryJobSays(legacytest.Status{State: "running", Percent: 50}, legacytest.Status{State: "done", URL: "/reports/files/{id}.pdf"})
	url := serve(t, b)
	for _, id := range []string{"job-1", "job-2"} {
		_, _, err := ask(t, url, "POST", "/reports/generate")
		require.NoError(t, err)
		for _, state := range []string{"running", "done", "done"} {
			_, body, err := ask(t, url, "GET", "/reports/status/"+id)
			require.NoError(t, err)
			require.Contains(t, body, state)
		}
	}
}

func TestTheLedgerKnowsWhoAskedForWhat(t *testing.T) {
	b := legacytest.New()
	url := serve(t, b)
	b.Meets(legacytest.Submits, legacytest.AnswerLost, 1)
	_, _, err := ask(t, url, "POST", "/reports/generate")
	require.Error(t, err)
	b.Meets(legacytest.Submits, legacytest.Reset, 1)
	_, _, err = ask(t, url, "POST", "/reports/generate")
	require.Error(t, err)
	code, _, err := ask(t, url, "GET", "/reports/status/job-1?x=1")
	require.NoError(t, err)
	require.Equal(t, 200, code)

	require.Equal(t, 2, b.Posts("me"))
	jobs := b.Jobs()
	require.Len(t, jobs, 1, "a reset ordered nothing, a lost answer did")
	require.Equal(t, "me", jobs[0].Client)
	require.Equal(t, "order", jobs[0].Body)
	require.Equal(t, 1, b.Polls("job-1"))
	polls := b.AskedFor("GET", "/reports/status/job-1")
	require.Len(t, polls, 1)
	require.Equal(t, "/reports/status/job-1?x=1", polls[0].Path)
	require.Equal(t, strings.TrimPrefix(url, "http://"), polls[0].Host)
	require.Equal(t, "me", polls[0].Header.Get(legacytest.ClientHeader))
	require.Len(t, b.Asked(), 3)
}

func TestFaultsOnAConnection(t *testing.T) {
	b := legacytest.New()
	b.Finishes("job-1")
	url := serve(t, b)
	poll := func(f legacytest.Fault) (int, string, error) {
		b.Meets(legacytest.Polls, f, 1)
		return ask(t, url, "GET", "/reports/status/job-1")
	}

	code, body, err := poll(legacytest.Code(503, "7"))
	require.NoError(t, err)
	require.Equal(t, 503, code)
	require.JSONEq(t, `{"error":"Service Unavailable"}`, body)

	code, body, err = poll(legacytest.HTML)
	require.NoError(t, err)
	require.Equal(t, 200, code)
	require.Contains(t, body, "<!doctype html>")

	_, body, err = poll(legacytest.Truncated)
	require.NoError(t, err, "as HTTP it is whole")
	require.NotContains(t, body, "}")

	code, body, err = poll(legacytest.BrokenOff)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, 200, code)
	require.NotEmpty(t, body)

	_, body, err = poll(legacytest.Endless)
	require.NoError(t, err)
	require.Len(t, body, 1<<20, "it went on for as long as it was read")

	_, _, err = poll(legacytest.Reset)
	require.Error(t, err)

	code, _, err = ask(t, url, "GET", "/reports/status/job-1")
	require.NoError(t, err)
	require.Equal(t, 200, code, "each fault was met once")
}

func TestAFaultStaysUntilTheBackendRecovers(t *testing.T) {
	b := legacytest.New()
	b.Finishes("job-1")
	b.Meets(legacytest.Polls, legacytest.Code(500, ""), legacytest.Always)
	url := serve(t, b)
	for range 3 {
		code, _, err := ask(t, url, "GET", "/reports/status/job-1")
		require.NoError(t, err)
		require.Equal(t, 500, code)
	}
	b.Recovers()
	code, _, err := ask(t, url, "GET", "/reports/status/job-1")
	require.NoError(t, err)
	require.Equal(t, 200, code)
	require.Equal(t, 1, b.Polls("job-1"))
	require.Len(t, b.AskedFor("GET", "/reports/status/job-1"), 4)
}

func TestWithoutASocketInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := legacytest.New()
		b.Finishes("job-1")
		send := func(f legacytest.Fault) (*httptest.ResponseRecorder, error) {
			b.Meets(legacytest.Polls, f, 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			rec := httptest.NewRecorder()
			return rec, b.Send(rec, httptest.NewRequestWithContext(ctx, "GET", "/reports/status/job-1", nil))
		}
		begin := time.Now()
		_, err := send(legacytest.Hang)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(begin))

		rec, err := send(legacytest.Late(time.Second))
		require.NoError(t, err)
		require.Equal(t, 200, rec.Code)
		require.Equal(t, begin.Add(time.Minute), b.Asked()[1].At, "the log has the bubble's time")

		_, err = send(legacytest.Reset)
		require.ErrorIs(t, err, legacytest.ErrNoAnswer)

		require.PanicsWithError(t, "broken", func() {
			_, _ = send(func(http.ResponseWriter, *http.Request, http.HandlerFunc) { panic(errors.New("broken")) })
		})
	})
}
