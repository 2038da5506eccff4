package offload

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/store"
)

// A Job is one kind of job with what is done about its status URLs.
type Job struct {
	*engine.Job
	Off     bool          // polls always go to the backend
	Stale   time.Duration // how old a reading may be that is served although a poll is due
	NoAdopt bool          // jobs that nobody submitted here stay unknown
}

// A Saving is why a request for a status cost the backend none.
type Saving string

const (
	ByReading Saving = "reading" // the last poll was answered a moment ago
	BySharing Saving = "sharing" // it waited for the poll that was due, with all others who did
)

// Savings lists them all.
func Savings() []Saving { return []Saving{ByReading, BySharing} }

// Config is what a [Server] works with. All but the functions is needed.
type Config struct {
	Scope      string
	Jobs       []Job // where several have one status URL, the first adopts
	Engine     *engine.Engine
	Store      store.Reader
	Observer   *observe.Server // opens streams
	Admissions *Admissions
	Keys       Keys // of the secret that all replicas share
	Logger     *slog.Logger
	Saved      func(job string, by Saving)             // told of every answer that was not asked for, if set
	Found      func(ctx context.Context, id intent.ID) // told which intent a request is about, if its client may know
}

// A Server answers requests for status URLs. It belongs to one configuration.
type Server struct {
	Config
	jobs    []matched
	anyURL  bool // the backend names some status URLs: any request can be for one
	adopted limiter
	warned  sync.Map // jobs, by name, whose polls are about somebody else's job
}

type matched struct {
	Job
	matcher *adapter.StatusMatcher
}

// New returns a Server.
func New(c Config) *Server {
	if c.Saved == nil {
		c.Saved = func(string, Saving) {}
	}
	if c.Found == nil {
		c.Found = func(context.Context, intent.ID) {}
	}
	s := &Server{Config: c}
	for _, job := range c.Jobs {
		if m := job.Adapter.StatusMatcher(); m != nil {
			s.jobs = append(s.jobs, matched{job, m})
			s.anyURL = s.anyURL || m.AnyURL()
		}
	}
	return s
}

// A Next passes a request on, as it would be without us.
type Next func(w http.ResponseWriter, r *http.Request) error

// A question is one request for a status URL.
type question struct {
	server *Server
	r      *http.Request
	who    *Asker
	next   Next
	target string    // path and query
	id     intent.ID // of the latest intent of this URL; zero if there is none
	by     credential
}

// Serve answers a request for a job's own status URL, or passes it on.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, who Asker, next Next) error {
	target, ok := targetOf(r)
	if !ok || !s.anyURL && s.byTemplate(target) == nil {
		return next(w, r)
	}
	id, err := s.Store.ByJob(r.Context(), store.JobKey{Scope: s.Scope, StatusURL: target})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return next(w, r)
	}
	q := &question{server: s, r: r, who: &who, next: next, target: target, id: id}
	switch {
	case r.Method == http.MethodOptions, r.Method == http.MethodTrace: // changes nothing, and anybody's page can send one
		return next(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return q.change(w)
	case !plain(r), id == (intent.ID{}) && s.byTemplate(target) == nil:
		return next(w, r)
	}
	q.by = credentialOf(s.Admissions.key, s.Scope, target, r, &who)
	if r.Method == http.MethodGet && observe.WantsNothingButStream(r.Header) {
		return q.stream(w)
	}
	return q.status(w)
}

// targetOf is path and query as a status URL is kept.
func targetOf(r *http.Request) (string, bool) {
	target := r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	return target, strings.HasPrefix(target, "/") && !r.URL.ForceQuery
}

// byTemplate returns the first job whose status template makes this URL.
func (s *Server) byTemplate(target string) *matched {
	for i := range s.jobs {
		if _, ok := s.jobs[i].matcher.Match(target); ok {
			return &s.jobs[i]
		}
	}
	return nil
}

// offloads reports whether a job that can have this URL is one whose polls are answered
// here.
func (s *Server) offloads(target string) bool {
	return slices.ContainsFunc(s.jobs, func(job matched) bool {
		_, ok := job.matcher.Match(target)
		return !job.Off && (ok || job.matcher.AnyURL())
	})
}

// byName returns a job of the configuration, nil if it is not there (any more).
func (s *Server) byName(name string) *matched {
	for i := range s.jobs {
		if s.jobs[i].Name == name {
			return &s.jobs[i]
		}
	}
	return nil
}

// change passes on what may change the job. Whatever was read before it is worthless,
// and so is what was read while it was under way.
func (q *question) change(w http.ResponseWriter) error {
	if q.id == (intent.ID{}) {
		return q.next(w, q.r)
	}
	q.server.Engine.Void(q.id)
	defer q.server.Engine.Void(q.id)
	return q.next(w, q.r)
}

// askTogether bounds how long one waits for the answer to another request with the
// same credentials before it asks itself.
const askTogether = 500 * time.Millisecond

// status answers from the last reading if this client may have it and it is current.
// Of those who may not, and have the same credentials, one asks the backend first.
func (q *question) status(w http.ResponseWriter) error {
	if !q.server.offloads(q.target) {
		return q.next(w, q.r)
	}
	if q.repeat(w) {
		return nil
	}
	over, answered := q.server.Admissions.ask(q.by)
	if answered != nil {
		defer answered()
		return q.ask(w)
	}
	if q.id == (intent.ID{}) {
		return q.ask(w) // no answer would do for two
	}
	soon := time.NewTimer(askTogether)
	defer soon.Stop()
	select {
	case <-over:
	case <-soon.C:
	case <-q.r.Context().Done():
	}
	if q.repeat(w) {
		return nil
	}
	return q.ask(w)
}

// repeat answers with what is kept, if that may be done.
func (q *question) repeat(w http.ResponseWriter) bool {
	a := q.admission()
	if a == nil || a.id == (intent.ID{}) || a.reused != (intent.ID{}) {
		return false
	}
	job := q.server.byName(a.job)
	if job == nil || job.Off {
		return false
	}
	q.found(a)
	defer q.warnOfOther(a)
	standing, by := q.server.Engine.Look(q.id), ByReading
	if standing.State == engine.Due {
		standing, by = q.server.Engine.Share(q.r.Context(), q.id), BySharing
	}
	if k := a.answer(&standing, standing.Since); k != nil && k.fits(q.r, &a.own) &&
		(standing.State == engine.Current || standing.State == engine.Over) && !(k != &a.own && !a.maker && a.between.lacks()) {
		q.server.Saved(a.job, by)
		k.reply(w, q.r, &a.own)
		return true
	}
	if standing.State == engine.Late || standing.State == engine.Due {
		if k := a.answer(&standing, time.Time{}); k != nil && k.fits(q.r, &a.own) && time.Since(k.At) <= job.Stale {
			q.server.Saved(a.job, ByReading)
			k.reply(w, q.r, &a.own)
			return true
		}
	}
	return false
}

// answer returns the later of the answers that these credentials may have, if it was
// asked for at since or later.
func (a *admission) answer(s *engine.Standing, since time.Time) *kept {
	best := &a.own
	if s.Answer != nil && (a.maker || !s.Copied && (a.mine || !a.apart)) && s.Asked.After(best.asked) && !a.between.differs(&a.own, s.Answer) {
		best = &kept{Answer: s.Answer, asked: s.Asked, copied: s.Copied, ends: s.Ends}
	}
	if best.asked.Before(since) || !best.asked.After(s.Voided) {
		return nil
	}
	return best
}

// admission returns the client's, if it is for the job that the URL names now.
func (q *question) admission() *admission {
	a := q.server.Admissions.get(q.by, time.Now())
	if a == nil || a.id != q.id {
		return nil
	}
	return a
}

// ask passes the request on and learns from the answer. Only the answer to a GET says
// what the job is.
func (q *question) ask(w http.ResponseWriter) error {
	job := q.server.byTemplate(q.target)
	if q.r.Method != http.MethodGet || q.id == (intent.ID{}) && (job == nil || job.NoAdopt) {
		return q.next(w, q.r)
	}
	q.foundByMaker()
	asked := time.Now()
	t := &tap{ResponseWriter: w, copied: copied{before: w.Header().Clone()}}
	if err := q.next(t, readably(q.r)); err != nil {
		return err
	}
	q.learn(&t.copied, asked)
	return nil
}

// foundByMaker is found before the backend has told anything of the job: who started it
// knows the intent anyway, and the head of the answer may be made with it.
func (q *question) foundByMaker() {
	if q.id == (intent.ID{}) {
		return
	}
	if in, err := q.server.Store.Get(q.r.Context(), q.id); err == nil && q.made(&in) {
		q.server.Found(q.r.Context(), q.id)
	}
}

// learn admits the client if the backend has. Any other answer takes an admission
// back, but for one that says that the backend is away, or that nothing has changed.
// A client that has left was told nothing, whatever code stands for that.
func (q *question) learn(c *copied, asked time.Time) *admission {
	if q.r.Context().Err() != nil {
		return nil
	}
	admissions := q.server.Admissions
	answer, ok := c.answer()
	if !ok {
		if c.code != http.StatusNotModified && c.code != http.StatusTooManyRequests && c.code < 500 {
			admissions.revoke(q.by)
		}
		return nil
	}
	a, in, err := q.read(kept{Answer: &answer, asked: asked, request: q.negotiation(answer.Header)})
	if err != nil {
		admissions.revoke(q.by)
		return nil
	}
	q.found(a)
	a.until = time.Now().Add(admittedFor)
	admissions.put(q.by, a)
	if a.id != (intent.ID{}) {
		q.server.Engine.Expect(a.id)
	}
	if a.maker { // of others it may be about another job by the same id: nothing of it goes on
		q.server.Engine.Hear(q.r.Context(), in, answer, asked) // after the admission, where streams of this client find the words
	}
	return a
}

// found tells which intent the request is about, if the client may know of it.
func (q *question) found(a *admission) {
	if a.told {
		q.server.Found(q.r.Context(), a.id)
	}
}

// negotiation is what of the request the answer varies by, and Accept.
func (q *question) negotiation(answer http.Header) http.Header {
	h := http.Header{}
	for _, name := range append(engine.Varies(answer), "Accept") {
		if values := q.r.Header[name]; values != nil && !separates(name) {
			h[name] = values
		}
	}
	return h
}

var errNotOurs = errors.New("not a job of ours")

// read reads the client's own answer as the status of the job that the URL names, of
// which there may be an intent.
func (q *question) read(own kept) (*admission, *intent.Intent, error) {
	s := q.server
	if q.id == (intent.ID{}) {
		job := s.byTemplate(q.target)
		d, _ := job.matcher.Match(q.target)
		in := intent.Intent{Origin: intent.Origin{Scope: s.Scope, Job: job.Name, Host: q.r.Host, Scheme: q.who.Scheme}, Delivery: d}
		r := job.Adapter.ReadPoll(&in, *own.Answer)
		if r.Outcome != adapter.Readable {
			return nil, nil, engine.ErrUnreadable
		}
		own.ends = r.Reading.Status.Terminal()
		return &admission{job: job.Name, own: own}, nil, nil
	}
	in, err := s.Store.Get(q.r.Context(), q.id)
	if err != nil {
		return nil, nil, err
	}
	if !strings.EqualFold(in.Host, q.r.Host) {
		return nil, nil, errNotOurs // another host may be another tenant, with jobs by the same ids
	}
	if own.ends, err = s.Engine.Understand(&in, *own.Answer); err != nil {
		return nil, nil, err
	}
	a := &admission{id: in.ID, job: in.Job, own: own, mine: q.mine(&in), maker: q.made(&in)}
	a.apart = !a.mine && in.Client != q.who.Client && !namesOne(in.JobID)
	if !namesOne(in.JobID) {
		a.between = &comparison{}
		if standing := s.Engine.Look(in.ID); standing.Answer != nil && standing.Asked.Before(own.asked) {
			a.between.before = standing.Answer
		}
	}
	a.told = a.mine || !a.apart && in.Sealed == "" && q.owner(&in)
	if a.mine && in.Waiting == engine.WaitingForCredentials {
		if err := s.Engine.Renew(q.r.Context(), in.ID, q.r.Header); err != nil {
			s.Logger.ErrorContext(q.r.Context(), "renewing copied headers", "intent", in.ID.String(), "err", err)
		}
	}
	if in.Status.Terminal() && !own.ends {
		s.Engine.Void(in.ID)
		a.reused = in.ID
	}
	return a, &in, nil
}

// namesOne reports whether a job's id is of 128 bits or more, as UUIDs are: no backend
// has two jobs by it, whoever asks.
func namesOne(jobID string) bool {
	digits := 0
	for _, c := range jobID {
		switch {
		case c == '-':
		case strings.ContainsRune("0123456789abcdefABCDEF", c):
			digits++
		default:
			return false
		}
	}
	return digits >= 32
}

// mine reports whether an intent is the client's own.
func (q *question) mine(in *intent.Intent) bool {
	if in.Owner != "" {
		return q.who.owns(in.Owner)
	}
	return q.made(in)
}

// Means reports whether a client's request about a job, by its status URL, is about the
// job of the intent that we have for it. A backend may have another job by the same id
// for another client: that one's cancel is not this one's. Where it is not known who
// started the job, it is taken for the same.
func (s *Server) Means(r *http.Request, who Asker, statusURL string) bool {
	id, err := s.Store.ByJob(r.Context(), store.JobKey{Scope: s.Scope, StatusURL: statusURL})
	if err != nil {
		return false
	}
	in, err := s.Store.Get(r.Context(), id)
	if err != nil || !strings.EqualFold(in.Host, r.Host) {
		return false
	}
	q := &question{server: s, r: r, who: &who, target: statusURL, id: id}
	return q.mine(&in) || in.Owner == "" && (namesOne(in.JobID) || in.Maker == "")
}

// hasWords reports whether there is something of the job that can be told to the client.
func (q *question) hasWords(a *admission) bool {
	if a.id == (intent.ID{}) {
		return true
	}
	standing := q.server.Engine.Look(q.id)
	return a.answer(&standing, time.Time{}) != nil
}

// hasLastWords is hasWords after the end of the intent, for a stream that says that and
// no more: how the job stood before is no end, and the job that this client means may
// be another one, which goes on.
func (q *question) hasLastWords(a *admission) bool {
	standing := q.server.Engine.Look(q.id)
	k := a.answer(&standing, time.Time{})
	return k != nil && k.ends
}

// patience is how long a stream may take to begin, until the first poll is answered.
const patience = 3 * time.Second

// proven reports whether the intent is what this client means by the URL, and not
// another's job by the same id: it is its own, or the backend tells it to anybody.
func (q *question) proven(ctx context.Context, a *admission) bool {
	if a.mine || a.apart {
		return a.mine
	}
	standing := q.server.Engine.FirstAnswer(ctx, q.id, patience)
	return standing.Answer != nil && !standing.Copied
}
