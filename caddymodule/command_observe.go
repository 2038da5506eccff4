package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
	"github.com/caddy-intents/caddy-intents/probe"
)

func observeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "observe [--header <line>]... [--timeout <duration>] [--json] <url>",
		Short: "Follow a stream of events by its URL to the end",
		Long: `
Follows an event stream as a client does, without the admin endpoint: the observe_url of
a submit, a job's own status URL, or several intents on one stream. Where the stream
breaks it goes on from the last event that was seen.

The exit code says how the intent ended: 0 for COMPLETED, 10 FAILED, 11 CANCELED, 12
TIMED_OUT, of several the highest; 13 if the stream was over before that was known, or
was stopped.`,
		Args:         cobra.ExactArgs(1),
		SilenceUsage: true,
		RunE:         exits(runObserve),
	}
	f := cmd.Flags()
	f.StringArray("header", nil, `Header of every request, for example "Authorization: Bearer ..."; may be given more than once`)
	f.Duration("timeout", 0, "Stop after so long")
	f.Bool("json", false, "Print the data of each event, a line each")
	return cmd
}

func runObserve(cmd *cobra.Command, args []string) error {
	u, err := url.Parse(args[0])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is no URL of a stream; write for example https://api.example.com/v1/intents/ID/events/stream", args[0])
	}
	lines, _ := cmd.Flags().GetStringArray("header")
	header, err := parseHeaders(lines)
	if err != nil {
		return err
	}
	ctx, stop := untilStopped(cmd)
	defer stop()
	f := &tail{url: u.String(), header: header, pause: 2 * time.Second, out: cmd.OutOrStdout(), complain: cmd.ErrOrStderr(), asJSON: wantsJSON(cmd), stands: make(map[string]intent.Status)}
	f.progress = newProgress(f.out)
	return f.run(ctx)
}

// A tail follows a stream to its end, as an EventSource does, and beyond what one
// can: it waits longer and longer for a server that is away.
type tail struct {
	url    string
	header http.Header
	lastID string
	pause  time.Duration // before it comes back, as the server says

	out      io.Writer
	complain io.Writer
	asJSON   bool
	progress *progress
	stands   map[string]intent.Status // by intent, as far as it is known
}

const maxFollowPause = 30 * time.Second

// errStreamOver says that there is nothing more to come.
var errStreamOver = errors.New("the stream is over")

func (f *tail) run(ctx context.Context) error {
	failures := 0
	for {
		got, err := f.follow(ctx)
		switch e, refused := errors.AsType[*adminError](err); {
		case ctx.Err() != nil:
			return &exit{exitRunning, errors.New("stopped before the end")}
		case errors.Is(err, errStreamOver):
			return f.outcome()
		case refused && e.status < 500 && e.status != http.StatusTooManyRequests:
			return err
		}
		if failures++; got {
			failures = 0
		}
		wait := min(f.pause<<min(failures, 6), maxFollowPause)
		wait += rand.N(wait/4 + 1)
		if failures > 2 {
			_, _ = fmt.Fprintf(f.complain, "%s  no stream: %s; again in %s\n", time.Now().Format("15:04:05"),
				probe.Fit(err.Error(), maxShown), wait.Round(time.Second))
		}
		if !pause(ctx, wait) {
			return &exit{exitRunning, errors.New("stopped before the end")}
		}
	}
}

// outcome is the exit of what is known when the stream is over.
func (f *tail) outcome() error {
	worst := error(nil)
	if len(f.stands) == 0 {
		return &exit{exitRunning, errors.New("the stream was over before it told an event; the intent itself says how it ended")}
	}
	for _, s := range f.stands {
		if err := endedAs(s); exitCode(err) > exitCode(worst) {
			worst = err
		}
	}
	return worst
}

// faithful follows redirects, but to no other host: whatever header is given may be a key.
var faithful = http.Client{CheckRedirect: func(r *http.Request, via []*http.Request) error {
	from, most := via[0].URL, 10
	if len(via) >= most || r.URL.Host != from.Host || from.Scheme == "https" && r.URL.Scheme != "https" {
		return http.ErrUseLastResponse
	}
	return nil
}}

// elsewhere is where a redirect leads, without a path and a query, where a token may be.
func elsewhere(resp *http.Response) string {
	to, err := resp.Location()
	if err != nil {
		return "nowhere"
	}
	return probe.Fit(to.Scheme+"://"+to.Host, 100)
}

// follow reads one connection, and reports whether it brought an event.
func (f *tail) follow(ctx context.Context) (got bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return false, err
	}
	r.Header = f.header.Clone()
	r.Header.Set("Accept", sse.ContentType)
	if f.lastID != "" {
		r.Header.Set("Last-Event-ID", f.lastID)
	}
	resp, err := faithful.Do(r)
	if err != nil {
		return false, errors.Unwrap(err) // and not the URL, where a token may be
	}
	defer resp.Body.Close()
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch {
	case resp.StatusCode == http.StatusNoContent:
		return false, errStreamOver
	case resp.StatusCode >= 400:
		return false, readProblem(resp)
	case resp.StatusCode >= 300:
		return false, &adminError{status: http.StatusNotAcceptable, message: "the answer leads to " + elsewhere(resp) + ", which is not given the headers; write its URL if that is meant"}
	case resp.StatusCode != http.StatusOK || strings.TrimSpace(kind) != sse.ContentType:
		return false, &adminError{status: http.StatusNotAcceptable, message: fmt.Sprintf("the answer is %d %s and no event stream", resp.StatusCode, probe.Fit(kind, 60))}
	}
	return f.read(resp.Body)
}

func (f *tail) read(body io.Reader) (got bool, err error) {
	for frames := sse.NewReader(body); ; {
		frame, err := frames.Next()
		f.pause = max(frames.Retry(), 100*time.Millisecond)
		if frames.Retry() == 0 {
			f.pause = 2 * time.Second
		}
		f.pause = min(f.pause, maxFollowPause)
		switch {
		case err == nil:
		case got && errors.Is(err, io.EOF) && f.over():
			return got, errStreamOver
		default:
			return got, err
		}
		got, f.lastID = true, frames.LastEventID()
		if err := f.show(frame); err != nil {
			return got, err
		}
	}
}

// over reports whether all that was heard of have ended.
func (f *tail) over() bool {
	for _, s := range f.stands {
		if !s.Terminal() {
			return false
		}
	}
	return len(f.stands) > 0
}

// A told is what an event of ours, or a frame in the backend's words, says of an intent.
type told struct {
	IntentID string         `json:"intent_id"`
	Status   intent.Status  `json:"status"`
	Details  intent.Details `json:"details"`
	Intent   *struct {      // in the words of a backend
		ID     string        `json:"id"`
		Status intent.Status `json:"status"`
	} `json:"intent"`
}

func (f *tail) show(frame sse.Frame) error {
	var t told
	_ = json.Unmarshal([]byte(frame.Data), &t) // what is not understood is shown
	if t.Intent != nil {
		t.IntentID, t.Status = t.Intent.ID, t.Intent.Status
	}
	id, err := intent.ParseID(t.IntentID)
	known := err == nil && t.Status != ""
	if known {
		f.stands[t.IntentID] = t.Status
	}
	switch {
	case f.asJSON:
		_, err = fmt.Fprintln(f.out, escapeControls(frame.Data))
		return err
	case known && t.Intent == nil:
		d := &t.Details
		f.progress.set(&row{
			IntentID: id, Status: t.Status, Progress: d.Progress, Message: d.Message, UnknownState: d.UnknownState,
			Waiting: d.Waiting, Error: d.Error,
		}, time.Now())
		return nil
	}
	_, err = fmt.Fprintf(f.out, "%s  %s  %s\n", time.Now().Format("15:04:05"), probe.Fit(frame.Event, 60), probe.Fit(frame.Data, 1200))
	return err
}
