package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

func TestTheJSONOfAWatchMovesNoCursor(t *testing.T) {
	var out bytes.Buffer
	w := &watching{ended: make(map[string]intent.Status), out: &out, asJSON: true}

	require.NoError(t, w.show(&change{Intents: []row{{Status: intent.InProgress, Message: "\u009b2J\x7f\u202e done"}}}))

	require.Contains(t, out.String(), `\u009b2J\u007f\u202e done`)
	require.Equal(t, 1, bytes.Count(out.Bytes(), []byte("\n")))
}

// commanded runs a command of the admin API against a server.
func commanded(t *testing.T, admin http.HandlerFunc, args ...string) (out string, code int) {
	t.Helper()
	server := httptest.NewServer(admin)
	defer server.Close()
	root := &cobra.Command{Use: "intents", SilenceErrors: true}
	root.AddCommand(watchCommand(), drainCommand(), webhooksCommand(), pollCommand(), showCommand())
	var b bytes.Buffer
	root.SetOut(&b)
	root.SetErr(&b)
	root.SetArgs(append(args, "--address", strings.TrimPrefix(server.URL, "http://")))
	err := root.ExecuteContext(t.Context())
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	if err != nil {
		code = 1
		if e := reflect.ValueOf(err).Elem(); e.Kind() == reflect.Struct && e.FieldByName("ExitCode").IsValid() {
			code = int(e.FieldByName("ExitCode").Int()) // Caddy's own, which has no name
		}
	}
	return b.String(), code
}

func TestAWatchOfWhatCannotChangeEnds(t *testing.T) {
	id := intent.NewID(time.Now(), 0)
	asked := 0
	admin := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/intents/changes"):
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "event: change\ndata: {\"intents\":[]}\n\n")
		case asked > 0:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"detail":"no such intent"}`)
		default:
			asked++
			fmt.Fprintf(w, `{"intent":{"intent_id":%q,"scope":"default","job":"report"}}`, id)
		}
	}
	out, code := commanded(t, admin, "watch", "--job", "nosuch", id.String())
	require.Equal(t, exitNone, code, out)
	require.Contains(t, out, "is of job report")
	asked = 0
	out, code = commanded(t, admin, "watch", "--job", "report", id.String(), id.String())
	require.Equal(t, exitNone, code, out)
	require.Contains(t, out, "no such intent")
}

func TestADrainIsToldInJSON(t *testing.T) {
	out, code := commanded(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"ok":true,"draining":true,"streams":2}`) }, "drain", "--json")
	require.Zero(t, code, out)
	require.JSONEq(t, `{"draining":true,"streams":2}`, out)
}

func TestOneMessageThatFailsDoesNotKeepTheOthers(t *testing.T) {
	admin := func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "bad") {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"detail":"no such message"}`)
			return
		}
		fmt.Fprintf(w, `{"message":{"id":%q},"event":{"seq":1}}`, strings.Split(r.URL.Path, "/")[3])
	}
	for _, action := range []string{"replay", "discard", "show"} {
		out, code := commanded(t, admin, "webhooks", action, "a", "bad", "c")
		require.Equal(t, exitNone, code, out)
		for _, want := range []string{"a", "bad: no such message", "c"} {
			require.Contains(t, strings.ReplaceAll(out, "\t", " "), want)
		}
	}
	var shown []letterAnswer
	out, code := commanded(t, admin, "webhooks", "show", "--json", "a", "c")
	require.Zero(t, code, out)
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	require.Len(t, shown, 2)
	_, code = commanded(t, admin, "webhooks", "discard", "--dead=false")
	require.Equal(t, 1, code)
}

func TestThePrintedLineMeansTheWordOrIsNotPrinted(t *testing.T) {
	for _, word := range []string{"archived", "in  progress", "a`b", `say "hi"`, `back\slash`, "{", "#1", "übergeben"} {
		v := &detail{row: row{Job: "report"}, Unknown: &unknownWord{Word: word, Job: "report", Within: "state body.status", Add: lineFor(word)}}
		var out bytes.Buffer
		v.printUnknown(&out)
		_, block, ok := strings.Cut(out.String(), "add one of:\n\n")
		require.True(t, ok, out.String())
		lines := strings.Split(block, "\n") // of which one is to be added
		job, err := adaptBlock(t, "job report {\n\tsubmit POST /r\n\tstatus /r/{job_id}\n\t"+strings.TrimSpace(lines[0])+"\n\t\t"+strings.TrimSpace(lines[1])+"\n\t}\n}\n")
		require.NoError(t, err, block)
		require.Equal(t, []string{word}, job.State.Words["completed"])
	}
	for _, word := range []string{"when", "a`\\", "{$HOME}", strings.Repeat("x", 128), "two\nlines", "\x1b[2J", "a\u00a0b"} {
		v := &detail{Unknown: &unknownWord{Word: word, Within: "state body.status", Add: lineFor(word)}}
		var out bytes.Buffer
		v.printUnknown(&out)
		require.Contains(t, out.String(), "cannot be written as a word", word)
		require.NotContains(t, out.String(), "\x1b")
	}
}

func TestAPollOfWhatIsNotDeliveredSaysSo(t *testing.T) {
	id := intent.NewID(time.Now(), 0)
	out, code := commanded(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"ok":true,"delivery":true,"intent":{"intent_id":%q,"status":"SUBMITTED"}}`, id)
	}, "poll", id.String())
	require.Zero(t, code, out)
	require.Contains(t, out, "the next try to deliver it was brought forward, and no poll was made")
}
