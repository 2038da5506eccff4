package offload

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"hash/maphash"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/store"
)

// stream answers with the backend's words as they change, to who is admitted. Who is
// not (yet) has the backend asked first, with an Accept that it may well answer with a
// stream of its own; whatever it answers that cannot be followed is the answer.
func (q *question) stream(w http.ResponseWriter) error {
	if err := q.await(q.server.Admissions.asked(q.job())); err != nil { // an intent that is being made is not all there
		return err
	}
	var f followed
	var held *hold
	a, err := q.admission(), error(nil)
	if a != nil && !q.hasWords(a) {
		a = nil
	}
	for range 2 { // the intent may end after the backend was asked
		if a == nil {
			if a, held, err = q.askFirst(w); err != nil || a == nil {
				return err
			}
		}
		if f, err = q.follow(a); !errors.Is(err, errStale) {
			break
		}
		a = nil
	}
	give := func() error {
		if held == nil {
			return q.next(w, q.r)
		}
		held.pass()
		return nil
	}
	if p, ok := errors.AsType[*observe.Problem](err); ok {
		a.own.replyCORS(w.Header())
		p.ServeStream(w, q.r)
		return nil
	}
	if err != nil {
		return give()
	}
	words := &words{engine: q.server.Engine, admissions: q.server.Admissions, by: q.by,
		client: f.admitted, owner: f.proven && q.owner(f.in)}
	if data, ok := words.data(f.in, "", words.first(f.in)); !ok || !observe.FitsWords(data) {
		return give()
	}
	q.found(f.admitted)
	f.admitted.own.replyCORS(w.Header())
	q.server.Observer.Speak(w, q.r, f.in, words)
	return nil
}

// askFirst asks the backend and returns the admission of the client with what holds
// the backend's answer. Without an admission the answer has been given.
func (q *question) askFirst(w http.ResponseWriter) (*admission, *hold, error) {
	if job := q.server.byTemplate(q.target); q.id == (intent.ID{}) && job.NoAdopt {
		return nil, nil, q.next(w, q.r)
	}
	asked := time.Now()
	held := newHold(w)
	r := readably(q.r).Clone(q.r.Context())
	r.Header.Set("Accept", strings.Join(q.r.Header["Accept"], ", ")+", application/json;q=0.9, */*;q=0.1")
	r.Header.Del("If-None-Match")
	r.Header.Del("If-Modified-Since")
	if err := q.next(held, r); err != nil {
		held.pass()
		return nil, nil, err
	}
	if held.passing {
		return nil, nil, nil
	}
	a := q.learn(&held.copied, asked)
	if a == nil {
		held.pass()
		return nil, nil, nil
	}
	return a, held, nil
}

// owner reports whether the client may be told of the intent itself.
func (q *question) owner(in *intent.Intent) bool {
	if in.Owner != "" {
		return q.who.owns(in.Owner)
	}
	return q.who.Owners == nil
}

// errStale: the intent has ended, and what is known of the job for this client is not
// how it ended.
var errStale = errors.New("no last words for this client")

// A followed intent is one whose job a client can be told of. An ended one can be even
// if it is not proven, in words for this client that are an end.
type followed struct {
	in       *intent.Intent
	admitted *admission // the client, to this intent
	proven   bool       // it is known that the client means this one
}

// follow returns the intent to follow, which is stored now if the job has none.
func (q *question) follow(a *admission) (followed, error) {
	s := q.server
	if _, ok := object(a.own.Body); !ok {
		return followed{}, errNotOurs
	}
	if a.id == (intent.ID{}) || a.reused != (intent.ID{}) {
		return q.adopt(a)
	}
	stored, err := s.Store.Get(q.r.Context(), a.id)
	if err != nil {
		return followed{}, err
	}
	over := stored.Status.Terminal()
	carries := stored.Sealed != "" // then no poll can prove anything, and is not waited for
	proven := a.mine || !over && !carries && q.proven(q.r.Context(), a)
	switch {
	case over && !q.hasLastWords(a):
		return followed{}, errStale
	case !over && !proven:
		return followed{}, errNotOurs
	}
	return followed{&stored, a, proven}, nil
}

// adopt stores an intent for a job that nobody submitted here.
func (q *question) adopt(a *admission) (followed, error) {
	s := q.server
	job := s.byTemplate(q.target)
	nobody := q.who.Owners != nil && q.who.owner() == "" // makes no intents, as with a submit
	if job == nil || job.NoAdopt || nobody {
		return followed{}, errNotOurs
	}
	d, _ := job.matcher.Match(q.target)
	if !job.matcher.Whole(d) {
		return followed{}, errNotOurs
	}
	if wait := s.adopted.take(q.who.Client, time.Now()); wait > 0 {
		return followed{}, &observe.Problem{
			Status: http.StatusTooManyRequests, Code: "too_many_adoptions", RetryAfter: wait,
			Message: "this client has asked for streams of too many jobs that were not submitted here",
		}
	}
	made, err := q.adoptInTurn(a, job, d)
	if errors.Is(err, store.ErrExists) { // somebody else was first; what the client sees of it is decided anew
		if q.id, err = q.adoptedBy(q.r.Context()); err != nil {
			return followed{}, err
		}
		again, _, err := q.read(a.own)
		if err != nil || again.reused != (intent.ID{}) {
			return followed{}, errNotOurs
		}
		again.until = a.until
		s.Admissions.put(q.by, again)
		return q.follow(again)
	}
	if err != nil {
		s.Logger.ErrorContext(q.r.Context(), "adopting a job", "job", job.Name, "err", err)
		return followed{}, err
	}
	q.id = made.ID
	adopted := &admission{until: a.until, id: made.ID, job: job.Name, own: a.own, mine: true, maker: true, told: true}
	s.Admissions.put(q.by, adopted)
	return followed{&made, adopted, true}, nil
}

// lookAgain is between two looks for an intent that is being made.
const lookAgain = 20 * time.Millisecond

// adoptedBy is the intent that somebody else has made of the job. Another replica may have
// claimed the job, and not stored all of it yet.
func (q *question) adoptedBy(ctx context.Context) (intent.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		id, err := q.server.Store.ByJob(ctx, store.JobKey{Scope: q.server.Scope, StatusURL: q.target})
		if !errors.Is(err, store.ErrNotFound) {
			return id, err
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return intent.ID{}, err
		}
	}
}

// adoptInTurn stores the intent, one request at a time for one job: whoever comes second
// finds all of what the first one has made, and not half of it.
func (q *question) adoptInTurn(a *admission, job *matched, d intent.Delivery) (intent.Intent, error) {
	admissions := q.server.Admissions
	for {
		over, done := admissions.ask(q.job())
		if done != nil {
			defer done()
			break
		}
		if err := q.await(over); err != nil {
			return intent.Intent{}, err
		}
	}
	return q.server.Engine.Adopt(q.r.Context(), engine.Adoption{
		Job:      job.Job.Job,
		Delivery: d,
		Origin: intent.Origin{Host: q.r.Host, Scheme: q.who.Scheme, Client: q.who.Client,
			Prefix: q.who.Prefix, Owner: q.who.owner()},
		Maker:   func(id intent.ID) string { return q.server.Maker(id, q.r, *q.who) },
		Instead: a.reused,
		Header:  q.r.Header,
		Answer:  *a.own.Answer,
		Asked:   a.own.asked,
	})
}

// await waits until what is under way is over, if anything is.
func (q *question) await(over <-chan struct{}) error {
	if over == nil {
		return nil
	}
	select {
	case <-over:
		return nil
	case <-q.r.Context().Done():
		return context.Cause(q.r.Context())
	}
}

// job stands for the job where else a client does.
func (q *question) job() credential {
	m := digest{Hash: hmac.New(sha256.New, q.server.Admissions.key)}
	m.add("job", q.server.Scope, q.target)
	var c credential
	m.Sum(c[:0])
	return c
}

// words say how an intent stands with the backend's latest status object. It outlives
// the configuration.
type words struct {
	engine     *engine.Engine
	admissions *Admissions
	by         credential
	client     *admission // as it was at first; own is its latest
	owner      bool       // the client may be told of the intent

	told []byte // the last object that there was: it goes on being the latest when none is kept
	said uint64 // hash of what was said last
	seq  int64  // up to which event
}

var seed = maphash.MakeSeed()

// Say implements observe.Words. An end is told in words that are an end. Where there
// are none for this client (yet), the stream is cut: who comes back is answered by the
// backend itself.
func (s *words) Say(in *intent.Intent, last intent.EventType) ([]byte, bool) {
	k := s.latest(in)
	if in.Status.Terminal() && (k == nil || !k.ends) { // another replica may be about to tell how it ended
		s.engine.AwaitEnd(context.Background(), in.ID)
		k = s.latest(in)
	}
	ends := k != nil && k.ends
	if k != nil {
		s.told = k.Body
	}
	if in.Status.Terminal() && !ends && !s.endsWithout(in) {
		return nil, false
	}
	sum := maphash.Bytes(seed, s.told)
	if s.seq == in.Seq && s.said == sum {
		return nil, true
	}
	s.seq, s.said = in.Seq, sum
	return s.data(in, last, s.told)
}

// first is the object that the stream begins with, nil for none.
func (s *words) first(in *intent.Intent) []byte {
	if k := s.latest(in); k != nil {
		return k.Body
	}
	return nil
}

// latest is the latest answer for this client, nil if none is kept.
func (s *words) latest(in *intent.Intent) *kept {
	standing := s.engine.Look(in.ID)
	a := s.admissions.get(s.by, time.Now())
	if a != nil && a.id == in.ID && a.reused == (intent.ID{}) && a.own.asked.After(s.client.own.asked) {
		latest := *s.client
		latest.own = a.own
		s.client = &latest
	}
	return s.client.answer(&standing, time.Time{})
}

// endsWithout reports whether the client is told of the end by the intent alone: the
// backend has no words for one of our own making, and some of its own are not kept.
func (s *words) endsWithout(in *intent.Intent) bool {
	o, _ := object(s.told)
	if !s.owner || slices.Contains(o.keys, "intent") {
		return false
	}
	return in.Error != nil && in.Error.Category != intent.ByBackend || s.engine.Look(in.ID).Unkept
}

// data puts what is known of the intent into the object. It is left out where the
// backend has a key by that name.
func (s *words) data(in *intent.Intent, last intent.EventType, body []byte) ([]byte, bool) {
	o := members{}
	if body != nil {
		var ok bool
		if o, ok = object(body); !ok {
			return nil, false
		}
	}
	if !s.owner || slices.Contains(o.keys, "intent") {
		return o.text, o.text != nil
	}
	about, _ := json.Marshal(struct { // of texts and a number
		ID     intent.ID        `json:"id"`
		Seq    int64            `json:"seq"`
		Status intent.Status    `json:"status"`
		Type   intent.EventType `json:"event_type"`
	}{in.ID, in.Seq, in.Status, last})
	member := append([]byte(`"intent":`), about...)
	if len(o.keys) == 0 {
		return slices.Concat([]byte("{"), member, []byte("}")), true
	}
	return slices.Concat(o.text[:len(o.text)-1], []byte(","), member, []byte("}")), true
}

// members is a JSON object without space around its tokens, and its keys.
type members struct {
	text []byte
	keys []string
}

// object reads a JSON object.
func object(body []byte) (members, bool) {
	var text bytes.Buffer
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if json.Compact(&text, body) != nil || text.Len() == 0 || text.Bytes()[0] != '{' {
		return members{}, false
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(text.Bytes(), &all) != nil {
		return members{}, false
	}
	keys := make([]string, 0, len(all))
	for key := range all {
		keys = append(keys, key)
	}
	return members{text.Bytes(), keys}, true
}
