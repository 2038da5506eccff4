package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A Sealer encrypts what of a client's request has to be kept, bound to the intent
// and the field that it is kept in.
type Sealer interface {
	Seal(id [16]byte, field string, value []byte) []byte
	Open(id [16]byte, field string, sealed []byte) ([]byte, error)
}

// copiedField names what is sealed.
const copiedField = "copied headers"

// seal keeps those headers of a submit that polls of its job carry, encrypted. They
// are the client's credentials: nobody finds them in the store, and they go when
// the intent ends.
func (e *Engine) seal(job *Job, id intent.ID, h http.Header) string {
	kept := make(http.Header)
	for _, name := range job.CopyHeaders {
		if values := h.Values(name); len(values) > 0 {
			kept[http.CanonicalHeaderKey(name)] = values
		}
	}
	sealer := e.settings.Load().Sealer
	if len(kept) == 0 || sealer == nil {
		return ""
	}
	plain, err := json.Marshal(kept)
	if err != nil {
		panic("engine: headers cannot be written as JSON: " + err.Error()) // they are lists of texts
	}
	return base64.RawStdEncoding.EncodeToString(sealer.Seal(id, copiedField, plain))
}

// copied returns the headers that were kept of a submit. Those that cannot be opened
// any more, because the secret is another one, are told and left out: the backend
// will say that it wants them.
func (e *Engine) copied(in *intent.Intent) http.Header {
	sealer := e.settings.Load().Sealer
	if in.Sealed == "" || sealer == nil {
		return nil
	}
	sealed, err := base64.RawStdEncoding.DecodeString(in.Sealed)
	var plain []byte
	if err == nil {
		plain, err = sealer.Open(in.ID, copiedField, sealed)
	}
	var h http.Header
	if err == nil {
		err = json.Unmarshal(plain, &h)
	}
	if err != nil {
		if e.told.first("sealed", in.Scope, in.Job) {
			e.log().Error("the copied headers of an intent cannot be opened with this secret", "intent", in.ID, "job", in.Job, "err", err)
		}
		return nil
	}
	return h
}

// addCopied adds the kept headers to a request of ours. What the config says of a
// header wins.
func (e *Engine) addCopied(r *http.Request, in *intent.Intent) {
	for name, values := range e.copied(in) {
		if _, ok := r.Header[name]; !ok {
			r.Header[name] = values
		}
	}
}

// Renew takes over the headers of a client's newer request about an intent that
// waits for credentials, and has it polled soon. The caller has made sure that the
// request is from who made the intent.
func (e *Engine) Renew(ctx context.Context, id intent.ID, h http.Header) error {
	held, err := e.seize(ctx, id)
	if err != nil {
		return err
	}
	err = e.renewSeized(ctx, held, h)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rest(held)
	e.plan(held, e.now())
	return err
}

func (e *Engine) renewSeized(ctx context.Context, held *held, h http.Header) error {
	in, err := e.load(ctx, held)
	if err != nil {
		return err
	}
	job := e.settings.Load().Jobs[*held.name]
	if job == nil || in.Waiting != WaitingForCredentials {
		return nil
	}
	fresh := e.seal(job, in.ID, h)
	if fresh == "" {
		return nil
	}
	next := in
	next.Sealed = fresh
	if err := e.store.Append(ctx, store.Change{Intent: next, Epoch: held.lease.Epoch, After: in.Seq}); err != nil {
		return fmt.Errorf("keeping new headers: %w", err)
	}
	return nil
}

// WaitingForCredentials is what an intent waits for whose polls the backend refuses
// with 401 or 403.
const WaitingForCredentials = "credentials"

func refusesCredentials(code int) bool {
	return code == http.StatusUnauthorized || code == http.StatusForbidden
}

// noteCredentials remembers what a submit authenticates with, by name, for the line to
// add should polls turn out to need it.
func (e *Engine) noteCredentials(job *Job, h http.Header) {
	var names []string
	for name := range h {
		if soundsSecret(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.credentials[job.JobName] = names[:min(len(names), maxCredentials)]
}

// maxCredentials bounds the names of headers in a log line.
const maxCredentials = 8

// soundsSecret reports whether a header's name is one that credentials have.
func soundsSecret(name string) bool {
	name = strings.ToLower(name)
	return len(name) < 64 && name != "idempotency-key" && slices.ContainsFunc([]string{"auth", "cookie", "key", "token", "secret", "session", "user", "tenant", "signature"},
		func(word string) bool { return strings.Contains(name, word) })
}

// copyLine is the config line that would have polls carry what submits authenticate
// with; "" if they do.
func (e *Engine) copyLine(job *Job) string {
	e.mu.Lock()
	seen := e.credentials[job.JobName]
	e.mu.Unlock()
	names := slices.Clone(job.CopyHeaders)
	for _, name := range seen {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			names = append(names, name)
		}
	}
	switch {
	case len(names) > len(job.CopyHeaders):
		return "copy_headers " + strings.Join(names, " ")
	case len(names) > 0:
		return ""
	}
	return "copy_headers with what clients authenticate with, for example Authorization Cookie"
}

// lackCredentials notes that the backend refuses the poll. Time does not heal that,
// and no give_up runs: the intent waits for its client, or its deadline.
func (e *Engine) lackCredentials(in *intent.Intent, next intent.Intent, job *Job) (intent.Intent, []intent.Event) {
	if e.told.first("credentials", in.Scope, in.Job) {
		attrs := []any{"job", in.Job, "intent", in.ID}
		if line := e.copyLine(job); line != "" {
			attrs = append(attrs, "add", line+", or a header in the status block")
		}
		e.log().Warn("the backend refuses polls for lack of credentials", attrs...)
	}
	return next.Wait(WaitingForCredentials, e.store.Now())
}

// warnCookie tells once that the backend sets cookies on polls: nobody gets them.
func (e *Engine) warnCookie(in *intent.Intent, h http.Header) {
	if len(h.Values("Set-Cookie")) > 0 && e.told.first("cookie", in.Scope, in.Job) {
		e.log().Warn("the backend sets a cookie in the answer to a poll; it is forwarded to nobody", "job", in.Job)
	}
}
