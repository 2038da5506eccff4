package probe_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/probe"
)

func TestAReplayLearnsLinesThatReadTheSameAnswers(t *testing.T) {
	report := replay(t, adapter.Spec{Status: &adapter.Endpoint{Target: "/reports/status/{job_id}"}}, `
-- submit --
POST /reports/generate

HTTP/1.1 202 Accepted

{"job_id":"r-1","status":"pending"}
-- poll-1 --
HTTP/1.1 200 OK

{"status":"running","percent":40,"step":"adding up"}
-- poll-2 --
HTTP/1.1 200 OK

{"status":"done","percent":100,"url":"/reports/r-1.csv"}
`)
	require.Equal(t, intent.Completed, report.Status)
	require.Equal(t, "body.job_id", report.Spec.JobID)
	require.Equal(t, "body.status", report.Spec.State.Expr)
	require.Equal(t, "body.percent", report.Spec.Progress.Percent)
	require.Equal(t, "body.step", report.Spec.Message)
	require.Contains(t, report.Text(), `because state body.status is "running"`)
	require.Contains(t, strings.Join(report.Warnings, "\n"), "No failure was seen")
}

func TestAnUnknownWordIsWarnedOfAndWritten(t *testing.T) {
	report := replay(t, adapter.Spec{Status: &adapter.Endpoint{Target: "/jobs/{job_id}"}}, submitted+polled(200, `{"status":"fermenting"}`)+polled(200, `{"status":"done"}`))
	require.Equal(t, intent.Completed, report.Status)
	require.Contains(t, strings.Join(report.Warnings, "\n"), `The state "fermenting" is unknown`)
	require.Equal(t, []string{"fermenting"}, report.Spec.State.Words["in_progress"])
}

func TestAWordThatNoCaddyfileCanHoldIsNotWritten(t *testing.T) {
	for _, word := range []string{"{$HOME}", "`\\", "a`\\\" b"} {
		answer, err := json.Marshal(map[string]string{"status": word})
		require.NoError(t, err)
		report := replay(t, adapter.Spec{Status: &adapter.Endpoint{Target: "/jobs/{job_id}"}}, submitted+polled(200, string(answer))+polled(200, `{"status":"done"}`))
		require.Contains(t, strings.Join(report.Warnings, "\n"), "is unknown, and was taken for in progress.")
		require.True(t, report.Spec.State == nil || report.Spec.State.Words == nil, word)
	}
}

func TestWhatCannotBeToldIsWarnedOf(t *testing.T) {
	status := adapter.Spec{Status: &adapter.Endpoint{Target: "/jobs/{job_id}"}}
	cases := map[string]struct{ capture, want string }{
		"no id":            {"-- submit --\nPOST /jobs\n\nHTTP/1.1 200 OK\n\n{\"wanted\":1}\n", "Its fields are: wanted."},
		"refused":          {"-- submit --\nPOST /jobs\n\nHTTP/1.1 401 Unauthorized\n\n", "give credentials with --header"},
		"a bad request":    {"-- submit --\nPOST /jobs\n\nHTTP/1.1 400 Bad Request\n\n", "--data may not be what the API wants"},
		"a moved submit":   {"-- submit --\nPOST /jobs\n\nHTTP/1.1 307 Temporary Redirect\nLocation: /v2/jobs\n\n", "submit to where it points"},
		"a moved status":   {submitted + polled(302, ""), "A status request was redirected with 302"},
		"a refused status": {submitted + polled(403, ""), "polls need credentials of their own"},
		"HTML":             {submitted + polled(200, "<html>sign in</html>"), "An answer could not be read: HTML."},
		"no end":           {submitted + polled(200, `{"status":"running"}`), "The answers end before the job has ended."},
		"over at once":     {submitted + polled(200, `{"status":"done"}`), "The job was over at the first poll"},
		"no success":       {submitted + polled(200, `{"status":"failed","error":"x"}`), "No completed job was seen"},
		"gone":             {submitted + polled(410, ``), "does not know the job any more (410)"},
		"vanished": {submitted + polled(200, `{"status":"running"}`) + polled(200, `{"status":"done"}`) + polled(404, ``),
			"The status is gone 1s after the end at the latest"},
		"went on": {submitted + polled(200, `{"status":"done"}`) + polled(200, `{"status":"running"}`),
			"The job went on after what was taken for its end"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, strings.Join(replay(t, status, c.capture).Warnings, "\n"), c.want)
		})
	}
}

// Every case of the presets is a capture.
func TestTheCasesOfThePresetsCanBeReplayed(t *testing.T) {
	files, err := filepath.Glob("../adapter/testdata/preset_*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		_, err = probe.ParseReplay(string(text))
		require.NoError(t, err, file)
	}
}

func TestACaptureThatIsNoneIsRefusedWithTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "there is no section -- submit --",
		"-- poll --\nHTTP/1.1 200 OK\n":     "line 1: the first section is not -- submit --",
		"-- submit --\nPOST /jobs\n":        "section submit, line 1: there is no answer",
		"-- submit --\n\nHTTP/1.1 200 OK\n": "section submit, line 1: there is no request",
		"-- submit --\nPOST jobs\nHTTP/1.1 200 OK\n":               `section submit, line 1: "jobs" is no path`,
		submitted + "-- poll --\nHTTP/1.1 two OK\n":                `section poll, line 7: "two" is no status code`,
		submitted + "-- poll --\nHTTP/1.1 200 OK\nno header\n\n{}": "section poll, line 7: reading headers",
		submitted + submitted:                                      "line 7: there is a submit already",
	} {
		_, err := probe.ParseReplay(text)
		require.ErrorContains(t, err, want, text)
	}
}

func TestOnlyTheHostOfTheSubmitIsSpokenTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := &scripted{answers: map[string][]string{
			"POST /jobs":  {"202 https://elsewhere.example.com/jobs/7|" + `{"id":"7"}`},
			"GET /jobs/7": {`200 |{"status":"running"}`, `200 |{"status":"done"}`},
		}}
		report := run(t, backend, adapter.Spec{Submit: adapter.Route{Path: "/jobs"}, Status: &adapter.Endpoint{Target: "/jobs/{job_id}"}})
		require.Equal(t, intent.Completed, report.Status)
		for _, host := range backend.hosts {
			require.Equal(t, "127.0.0.1:9000", host)
		}
	})
}

func TestAStatusURLOnAnotherHostIsNotUsedAndTold(t *testing.T) {
	report := replay(t, adapter.Spec{}, "-- submit --\nPOST /jobs\n\nHTTP/1.1 202 Accepted\nLocation: https://elsewhere.example.com/jobs/7?key=secret\n\n{\"id\":\"7\"}\n")
	require.Contains(t, strings.Join(report.Warnings, "\n"), "The URL https://elsewhere.example.com/jobs/7 was not used")
	require.NotContains(t, report.Text(), "secret")
}

func TestAProbeEndsWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := &scripted{answers: map[string][]string{"POST /jobs": {`202 |{"id":"7"}`}, "GET /jobs/7": {`200 |{"status":"running"}`}}}
		begun := time.Now()
		report := run(t, backend, adapter.Spec{Submit: adapter.Route{Path: "/jobs"}, Status: &adapter.Endpoint{Target: "/jobs/{job_id}"}})
		require.Equal(t, time.Minute, time.Since(begun))
		require.Empty(t, report.Status)
		require.Contains(t, strings.Join(report.Warnings, "\n"), "The job had not ended when time was over")
	})
}

func TestAProbeThatWaitsForAnAnswerSaysThatTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := &scripted{answers: map[string][]string{"POST /jobs": {`202 |{"id":"7"}`}, "GET /jobs/7": {`200 |{"status":"running"}`, "never"}}}
		report := run(t, backend, adapter.Spec{Submit: adapter.Route{Path: "/jobs"}, Status: &adapter.Endpoint{Target: "/jobs/{job_id}"}})
		require.Contains(t, strings.Join(report.Warnings, "\n"), "The job had not ended when time was over")
	})
}

func TestAProbeAsksOnlySoOften(t *testing.T) {
	capture := submitted + strings.Repeat(polled(200, `{"status":"running"}`), 1001)
	report := replay(t, adapter.Spec{Status: &adapter.Endpoint{Target: "/jobs/{job_id}"}}, capture)
	require.Contains(t, strings.Join(report.Warnings, "\n"), "The job had not ended after 1000 polls")
}

func TestAJobThatIsGoneWasNotSeenToEnd(t *testing.T) {
	capture := submitted + polled(200, `{"status":"running"}`) + polled(410, "") + polled(410, "")
	report := replay(t, adapter.Spec{Status: &adapter.Endpoint{Target: "/jobs/{job_id}"}}, capture)
	require.Contains(t, strings.Join(report.Warnings, "\n"), "does not know the job any more (410)")
	require.NotContains(t, strings.Join(report.Warnings, "\n"), "after the end")
}

func TestNothingOfABackendMovesTheCursorOrMakesALine(t *testing.T) {
	const attack = `\u001b]0;pwn\u0007\u001b[2J\njob evil {\u009b`
	spec := adapter.Spec{Status: &adapter.Endpoint{Target: "/jobs/{job_id}"}}
	for name, capture := range map[string]string{
		"state and message": submitted + polled(200, `{"status":"run`+attack+`ning","message":"`+attack+`"}`) + polled(200, "\x1b[2J\x00"),
		"done":              submitted + polled(200, `{"done":"`+attack+`"}`),
		"code of an error":  submitted + polled(200, `{"status":"failed","error":{"code":"`+attack+`"}}`),
		"names of fields":   strings.Replace(submitted, `"id"`, `"`+attack+`"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			text := replay(t, spec, capture).Text()
			require.NotRegexp(t, "[\x00-\x09\x0b-\x1f\x7f\u0080-\u009f]", text)
			require.NotRegexp(t, `(?m)^\s*job evil`, text)
		})
	}
	long := replay(t, spec, submitted+polled(200, "<"+strings.Repeat("x", 100_000)+"/>"))
	require.Less(t, len(long.Text()), 10_000)
}

func TestAMissingStatusURLIsAskedFor(t *testing.T) {
	report := replay(t, adapter.Spec{}, submitted)
	require.Contains(t, strings.Join(report.Warnings, "\n"), "say it by --status")
	require.NotContains(t, strings.Join(report.Warnings, "\n"), "--job-id")
}
