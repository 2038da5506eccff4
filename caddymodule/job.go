package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
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
	queue, err := j.Queue.compile(spec)
	if err != nil {
		return nil, err
	}
	hooks, err := compileWebhooks(j.Webhooks)
	if err != nil {
		return nil, err
	}
	if err := j.check(); err != nil {
		return nil, err
	}
	compiledJob := &engine.Job{
		JobName:          engine.JobName{Name: j.Name},
		Adapter:          compiled,
		Pace:             pace,
		Deadline:         time.Duration(cmp.Or(j.Deadline, caddy.Duration(defaultDeadline))),
		CancelAtDeadline: j.CancelAtDeadline,
		CopyHeaders:      j.CopyHeaders,
		Queue:            queue,
		Respond:          j.respond(),
		StateAdds:        stateAdds,
	}
	if hooks != nil { // a nil one is no Teller
		compiledJob.Teller = hooks
	}
	return compiledJob, nil
}

func (j *Job) respond() engine.Respond {
	return engine.Respond(cmp.Or(j.Respond, string(engine.RespondMerge)))
}

// check refuses what cannot work, as far as no other part of the job does.
func (j *Job) check() error {
	switch {
	case !slices.Contains(engine.Responds(), j.respond()):
		return fmt.Errorf("respond: unknown %q; write one of %s", j.Respond, list(engine.Responds()))
	case slices.ContainsFunc(j.CopyHeaders, func(name string) bool { return !copyable(name) }):
		return fmt.Errorf("copy_headers: %q cannot all be copied; write headers that say who asks, for example Authorization Cookie", j.CopyHeaders)
	case j.Deadline < 0:
		return fmt.Errorf("deadline: %s is negative; write for example 24h", time.Duration(j.Deadline))
	case j.CancelAtDeadline && j.Cancel == nil:
		return errors.New("deadline: it says cancel, but there is no `cancel` line that says how")
	}
	return j.OwnURLs.check()
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

func list[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}
