package caddymodule

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/offload"
)

// A starting is a client's request that starts a job.
type starting struct {
	*Handler
	parts  *parts
	r      *http.Request
	job    *engine.Job
	params map[string]string
}

// submit starts a job. A store that is not there costs the client nothing but the
// intent, unless it is the intent that was asked for.
func (h *Handler) submit(w http.ResponseWriter, r *http.Request, job *engine.Job, params map[string]string) error {
	mentionOf(r.Context()).job = job.Name
	s := starting{Handler: h, parts: h.app.await(r.Context()), r: r, job: job, params: params}
	switch {
	case s.parts == nil && (job.Respond == engine.RespondIntent || job.Queue != nil || s.wantsStream()):
		observe.Unavailable().ServeHTTP(w, r)
		return nil
	case s.parts == nil:
		w.Header().Set("Intent-Status", "unavailable")
		h.logger.Error("a job was started without an intent: the store is not open", "job", job.Name)
		counted.Unkept(job.JobName)
		return h.toBackend(w, r)
	case h.Owner != "" && h.ownerOf(r) == "":
		h.ownerless.Do(func() {
			h.logger.Warn("a submit without an owner makes no intent; authenticate submits, or leave out `owner`", "job", job.Name)
		})
		return h.toBackend(w, r)
	}
	submission, problem := s.submission()
	if problem != nil {
		problem.ServeHTTP(w, r)
		return nil
	}
	return s.answer(w, s.send(w, r, submission))
}

// send has the engine send the submit.
func (s starting) send(w http.ResponseWriter, r *http.Request, sub engine.Submission) error {
	r, span := spanSubmit(r, s.job.Name)
	sub.Known = func(id intent.ID) {
		about(r.Context(), id)
		endSubmit(span, id)
	}
	defer span.End()
	return s.parts.engine.Submit(w, r, sub)
}

// answer tells the client what the engine refused.
func (s starting) answer(w http.ResponseWriter, err error) error {
	var problem *observe.Problem
	switch {
	case errors.Is(err, engine.ErrNotAccepted):
		problem = observe.Unavailable()
	case errors.Is(err, engine.ErrInDoubt):
		problem = s.inDoubt()
	case errors.Is(err, engine.ErrQueueFull):
		problem = &observe.Problem{Status: http.StatusServiceUnavailable, Code: "queue_full", Message: err.Error(), RetryAfter: 10 * time.Second}
	case errors.Is(err, engine.ErrTooLong):
		problem = observe.TooLarge()
	case errors.Is(err, engine.ErrBrokeOff):
		problem = observe.BadRequest(err.Error())
	case errors.Is(err, engine.ErrKeyReused):
		problem = conflict("idempotency_key_reused", err)
	case errors.Is(err, engine.ErrKeyInProgress):
		problem = conflict("in_progress", err)
		problem.RetryAfter = time.Second
	case errors.Is(err, engine.ErrKeyUncertain):
		problem = conflict(intent.CodeSubmitUncertain, err)
	case errors.Is(err, engine.ErrOnlyHints):
		return caddyhttp.Error(http.StatusBadGateway, err)
	default:
		return forCaddy(err)
	}
	problem.ServeHTTP(w, s.r)
	return nil
}

// inDoubt tells the client that it must not take its submit for refused, and what it can
// do.
func (s starting) inDoubt() *observe.Problem {
	problem := observe.Unavailable()
	problem.Code = intent.CodeSubmitUncertain
	problem.Message = "the store did not say whether it has this request; it may yet be delivered. "
	if s.r.Header.Get("Idempotency-Key") != "" {
		problem.Message += "Repeat it with the same Idempotency-Key: it is delivered once, and the repeat gets its intent"
	} else {
		problem.Message += "It is taken back as soon as the store can be asked. With an Idempotency-Key it could be repeated safely"
	}
	return problem
}

func conflict(code string, err error) *observe.Problem {
	return &observe.Problem{Status: http.StatusConflict, Code: code, Message: err.Error()}
}

// submission is what the engine has to know of the request.
func (s starting) submission() (engine.Submission, *observe.Problem) {
	prefix := strippedPrefix(s.r)
	key, former, badKey := s.key()
	within, badWithin := cancelAfter(s.r.Header)
	hook, badHook := s.hookOf()
	if problem := cmp.Or(badKey, badWithin, badHook); problem != nil {
		return engine.Submission{}, problem
	}
	sub := engine.Submission{
		Job:     s.job,
		Params:  s.params,
		Scheme:  scheme(s.r),
		Client:  clientIP(s.r),
		Prefix:  prefix,
		Base:    prefix + s.Path,
		Key:     key,
		Former:  former,
		Within:  within,
		Cancels: within > 0,
		Hook:    hook,
		Present: func(w http.ResponseWriter, in *intent.Intent) {
			observe.CORS(s.CORS).Head(w.Header(), s.r)
			s.observer(s.parts).Present(w, s.viewed(s.r), in)
		},
		ObserveURL: func(id intent.ID) string { return s.observer(s.parts).ObserveURL(prefix, id) },
		Maker:      func(id intent.ID) string { return s.serversOf(s.parts).offloader.Maker(id, s.r, s.asker(s.r)) },
		Decorate:   observe.CORS(s.CORS).Expose,
	}
	if owner := s.ownerOf(s.r); owner != "" {
		sub.Owner = s.app.keys.MAC(ownerPurpose, s.Name, owner)
	}
	if wait := observe.PreferredWait(s.r.Header); wait > 0 {
		sub.Await = func(in *intent.Intent) *adapter.Answer { return s.await(in, wait) }
		sub.Applied = func(h http.Header) { observe.WaitApplied(h, wait) }
	}
	if s.wantsStream() {
		sub.Await, sub.Stream = nil, s.stream
	}
	return sub, nil
}

// cancelAfter is how long the client gives its job: seconds, or a duration with a unit.
func cancelAfter(h http.Header) (time.Duration, *observe.Problem) {
	said := h.Get("Cancel-After")
	if said == "" {
		return 0, nil
	}
	if len(h["Cancel-After"]) > 1 {
		return 0, observe.BadRequest("Cancel-After must be given once")
	}
	d, err := caddy.ParseDuration(said)
	if seconds, e := strconv.ParseUint(said, 10, 31); e == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d <= 0 || len(said) > 32 {
		return 0, observe.BadRequest("Cancel-After must be a positive number of seconds, or a duration such as 90s, 15m or 2h")
	}
	return d, nil
}

// await waits for the end of the intent and returns the backend's last answer then.
func (s starting) await(in *intent.Intent, wait time.Duration) *adapter.Answer {
	s.parts.engine.Look(in.ID) // from now on its answers are kept
	ended, err := s.observer(s.parts).Await(s.r.Context(), *in, wait)
	if err != nil || !ended.Status.Terminal() {
		return nil
	}
	s.parts.engine.Quiet(s.r.Context(), in.ID)
	if standing := s.parts.engine.Look(in.ID); standing.State == engine.Over {
		return standing.Answer
	}
	return nil
}

// stream answers the submit with the events of its intent, from the first on.
func (s starting) stream(w http.ResponseWriter, in *intent.Intent) {
	observe.CORS(s.CORS).Head(w.Header(), s.r)
	s.observer(s.parts).Observe(w, s.viewed(s.r), in)
}

// wantsStream reports whether the client asks for the stream as the answer to its
// submit. Only of unsafe methods: a GET with this type is an EventSource, which asks
// again by itself, and each time would start a job.
func (s starting) wantsStream() bool {
	return s.r.Method != http.MethodGet && s.r.Method != http.MethodHead && observe.WantsNothingButStream(s.r.Header)
}

// maxKey bounds an idempotency key, in bytes.
const maxKey = 255

// key is the idempotency key of the request with everything that it is unique in: the
// handler and Host, the request's method and path, and whose request it is. Who has no owner
// is told apart by what it authenticates with.
func (s starting) key() (key, former string, problem *observe.Problem) {
	said := s.r.Header.Get("Idempotency-Key")
	switch {
	case len(s.r.Header["Idempotency-Key"]) > 1:
		return "", "", observe.BadRequest("Idempotency-Key must be given once: the backend may go by another one than we do")
	case said == "":
		return "", "", nil
	case len(said) > maxKey || strings.ContainsFunc(said, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return "", "", observe.BadRequest("Idempotency-Key must be at most 255 characters, without control characters")
	}
	whose := []string{"owner", s.ownerOf(s.r)}
	if s.Owner == "" {
		// Repeats may have other values of the key itself, which counts apart, and of what is
		// wanted of the answer.
		whose = append([]string{"credentials", s.asker(s.r).User}, offload.Credentials(s.r, "Idempotency-Key", "Prefer")...)
	}
	macs := s.app.keys.MACs("idempotency", append([]string{s.Name, strings.ToLower(s.r.Host), s.r.Method, s.r.URL.EscapedPath(), said}, whose...)...)
	if len(macs) > 1 {
		former = macs[1]
	}
	return macs[0], former, nil
}
