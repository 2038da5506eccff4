package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
)

// Job describes one kind of job that the backend does: the requests that start it,
// ask for it and cancel it, and how to read the answers. Only `submit` and, unless
// the backend names its status URL itself, `status` are required.
type Job struct {
	// The name of the job. Intents refer to it: one that is renamed leaves its
	// running intents waiting for their deadline. Required.
	Name string `json:"name"`

	// The built-in preset to start from: a job API that is described already
	// (`caddy intents presets` lists them). Every line written replaces the preset's
	// line of that word; a state without an expression adds to the preset's.
	// Default: none.
	Preset string `json:"preset,omitempty"`

	// A file with a preset of your own, in the format that `caddy intents presets
	// --json <name>` prints. Default: none.
	PresetFile string `json:"preset_file,omitempty"`

	adapter.Spec

	// How often the status is asked for.
	Poll *Poll `json:"poll,omitempty"`

	// How long an intent may take. When it has passed the intent ends as TIMED_OUT;
	// the job goes on, unless cancel_at_deadline says otherwise. Default: 24h.
	Deadline caddy.Duration `json:"deadline,omitempty"`

	// Whether the job is canceled at the backend when the deadline passes, after one
	// last poll. Needs `cancel`. Default: false.
	CancelAtDeadline bool `json:"cancel_at_deadline,omitempty"`

	// Headers of the submit that polls carry, for a backend that wants to see who asks:
	// for example `Authorization` and `Cookie`. They are kept encrypted until the intent
	// ends. Default: none.
	CopyHeaders []string `json:"copy_headers,omitempty"`

	// Whether submits are stored and delivered later. What the client gets then is the
	// intent, whatever `respond` says. Default: a submit is sent while its client waits.
	Queue *Queue `json:"queue,omitempty"`

	// Who is told of the intents' events by POST. Default: nobody.
	Webhooks []*Webhook `json:"webhooks,omitempty"`

	// What the client of a submit gets. `merge`: the backend's answer with intent_id
	// and observe_url added to its JSON object. `untouched`: the backend's answer.
	// `intent`: 202 with the intent. All have the headers Intent-Id and Link.
	// Default: `merge`.
	Respond string `json:"respond,omitempty"`

	OwnURLs
}

// Poll says how often a job's status is asked for.
type Poll struct {
	// From one poll to the next while somebody watches the intent. Default: 2s.
	Interval caddy.Duration `json:"interval,omitempty"`

	// From the answer to the submit to the first poll. Default: 500ms.
	First caddy.Duration `json:"first,omitempty"`

	// What the interval grows to while nobody watches, and while the backend does
	// not answer. Default: 30s.
	MaxInterval caddy.Duration `json:"max_interval,omitempty"`

	// The factor by which it grows, 1 to 10. Default: 1.5.
	Backoff float64 `json:"backoff,omitempty"`

	// Which part of the interval is added at random while nobody watches, as a
	// fraction from 0 to 1. Default: 0.2.
	Jitter *float64 `json:"jitter,omitempty"`

	// How long one poll may take. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long the backend's answers may be unreadable before the intent fails. Time
	// in which it does not answer at all is not counted. Default: 10m.
	GiveUp caddy.Duration `json:"give_up,omitempty"`

	// How long the backend may not know the job (404, or a fall back from a later
	// state to a waiting one) before the intent ends as lost, or as canceled if a
	// cancel was seen. 410 is believed at once. Default: 1m.
	Grace caddy.Duration `json:"grace,omitempty"`

	adapter.Poll
}

const defaultDeadline = 24 * time.Hour

// compile checks the job and makes what the engine works with. It changes j only
// by filling in what Caddy's environment says, and calls missing for what that does
// not know, or knows to be nothing.
func (j *Job) compile(o adapter.Options, missing func(header, placeholder string)) (*engine.Job, error) {
	if j.Name == "" {
		return nil, errors.New("name: missing; write `job <name> {`")
	}
	stateAdds := j.hasPreset() && (j.State == nil || j.State.Expr == "")
	j, err := j.overPreset()
	if err != nil {
		return nil, err
	}
	spec := j.Spec
	if j.Poll != nil {
		spec.Poll = &j.Poll.Poll
	}
	compiled, err := adapter.Compile(environment{caddy.NewReplacer(), missing}.resolve(spec), o)
	if err != nil {
		return nil, err
	}
	pace, err := j.Poll.pace()
	if err != nil {
		return nil, err
	}
	if err := j.OwnURLs.check(); err != nil {
		return nil, err
	}
	queue, err := j.Queue.compile(spec)
	if err != nil {
		return nil, err
	}
	hooks, err := compileWebhooks(j.Webhooks)
	if err != nil {
		return nil, err
	}
	respond := engine.Respond(cmp.Or(j.Respond, string(engine.RespondMerge)))
	switch {
	case !slices.Contains(engine.Responds(), respond):
		return nil, fmt.Errorf("respond: unknown %q; write one of %s", j.Respond, list(engine.Responds()))
	case slices.ContainsFunc(j.CopyHeaders, func(name string) bool { return !copyable(name) }):
		return nil, fmt.Errorf("copy_headers: %q cannot all be copied; write headers that say who asks, for example Authorization Cookie", j.CopyHeaders)
	case j.Deadline < 0:
		return nil, fmt.Errorf("deadline: %s is negative; write for example 24h", time.Duration(j.Deadline))
	case j.CancelAtDeadline && j.Cancel == nil:
		return nil, errors.New("deadline: it says cancel, but there is no `cancel` line that says how")
	}
	compiledJob := &engine.Job{
		JobName:          engine.JobName{Name: j.Name},
		Adapter:          compiled,
		Pace:             pace,
		Deadline:         time.Duration(cmp.Or(j.Deadline, caddy.Duration(defaultDeadline))),
		CancelAtDeadline: j.CancelAtDeadline,
		CopyHeaders:      j.CopyHeaders,
		Queue:            queue,
		Respond:          respond,
		StateAdds:        stateAdds,
	}
	if hooks != nil { // a nil one is no Teller
		compiledJob.Teller = hooks
	}
	return compiledJob, nil
}

// copyable reports whether a header of the submit makes sense on a poll.
func copyable(name string) bool {
	if !httpguts.ValidHeaderFieldName(name) {
		return false
	}
	switch http.CanonicalHeaderKey(name) {
	case "Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host", "Idempotency-Key",
		"Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent":
		return false
	}
	return true
}

// An environment is what Caddy knows when a config is loaded: {env.*}, {file.*}.
type environment struct {
	known   *caddy.Replacer
	missing func(header, placeholder string)
}

// resolve replaces it in the headers of our requests, which is where tokens are.
func (e environment) resolve(s adapter.Spec) adapter.Spec {
	endpoints := append(fetchOf(&s.Result), &s.Status, &s.Cancel)
	if s.Then != nil {
		hop := *s.Then
		s.Then = &hop
		endpoints = append(endpoints, append(fetchOf(&hop.Result), &hop.Status, &hop.Cancel)...)
	}
	for _, endpoint := range endpoints {
		if *endpoint == nil {
			continue
		}
		resolved := **endpoint
		resolved.Header = e.replaced(resolved.Header)
		*endpoint = &resolved
	}
	if s.Lookup != nil {
		lookup := *s.Lookup
		lookup.Header = e.replaced(lookup.Header)
		s.Lookup = &lookup
	}
	if s.Poll != nil && s.Poll.Batch != nil {
		poll, batch := *s.Poll, *s.Poll.Batch
		batch.Header = e.replaced(batch.Header)
		poll.Batch = &batch
		s.Poll = &poll
	}
	return s
}

// unheard is for when a job is compiled for its errors only.
func unheard(string, string) {}

var placeholder = regexp.MustCompile(`\{([^{}]+)\}`)

func (e environment) replaced(h http.Header) http.Header {
	h = h.Clone()
	for name, values := range h {
		for i, v := range values {
			for _, found := range placeholder.FindAllStringSubmatch(v, -1) {
				if value, known := e.known.GetString(found[1]); known && value == "" {
					e.missing(name, found[0])
				}
			}
			values[i] = e.known.ReplaceKnown(v, "")
		}
	}
	return h
}

// fetchOf is the request in a result, which becomes a copy.
func fetchOf(r **adapter.Result) []**adapter.Endpoint {
	if *r == nil {
		return nil
	}
	*r = new(**r)
	return []**adapter.Endpoint{&(*r).Fetch}
}

// pace fills in defaults and checks.
func (p *Poll) pace() (engine.Pace, error) {
	pace := engine.DefaultPace
	if p == nil {
		return pace, nil
	}
	for _, d := range []struct {
		name  string
		value caddy.Duration
		to    *time.Duration
		least time.Duration
	}{
		{"interval", p.Interval, &pace.Interval, 100 * time.Millisecond},
		{"first", p.First, &pace.First, time.Millisecond},
		{"max_interval", p.MaxInterval, &pace.MaxInterval, 100 * time.Millisecond},
		{"timeout", p.Timeout, &pace.Timeout, 100 * time.Millisecond},
		{"give_up", p.GiveUp, &pace.GiveUp, time.Second},
		{"grace", p.Grace, &pace.Grace, time.Millisecond},
	} {
		switch value := time.Duration(d.value); {
		case value == 0:
		case value < d.least:
			return pace, fmt.Errorf("poll %s: %s is too short; write at least %s", d.name, value, d.least)
		default:
			*d.to = value
		}
	}
	if p.MaxInterval == 0 {
		pace.MaxInterval = max(pace.MaxInterval, pace.Interval)
	}
	if pace.MaxInterval < pace.Interval {
		return pace, fmt.Errorf("poll max_interval: %s is less than the interval of %s", pace.MaxInterval, pace.Interval)
	}
	if p.Backoff != 0 {
		pace.Backoff = p.Backoff
	}
	if p.Jitter != nil {
		pace.Jitter = *p.Jitter
	}
	switch {
	case pace.Backoff < 1 || pace.Backoff > 10:
		return pace, fmt.Errorf("poll backoff: %v is out of range; write a factor from 1 to 10", pace.Backoff)
	case pace.Jitter < 0 || pace.Jitter > 1:
		return pace, fmt.Errorf("poll jitter: %v is out of range; write 0%% to 100%%", pace.Jitter)
	}
	return pace, nil
}

func list[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}
