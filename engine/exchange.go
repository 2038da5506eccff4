package engine

import (
	"context"
	"errors"
	"maps"
	"mime"
	"net/http"
	"strings"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
	"github.com/caddy-intents/caddy-intents/store"
)

// An exchange is one submit on its way: the ResponseWriter that the transport
// writes the backend's answer to. An answer that may name a job is held back until
// it is whole (or too long to be read) and the intent is stored; everything else
// passes at once.
type exchange struct {
	engine      *Engine
	w           http.ResponseWriter
	ctx         context.Context
	submission  Submission
	host, path  string
	capture     *capture    // nil if no expression reads the request
	reservation *store.Held // nil if nothing was written ahead
	asked       http.Header // of the client's request
	before      http.Header // what handlers before us have set

	giveUp  func() // ends the request to the backend
	hints   int    // informational answers so far
	code    int
	head    http.Header // as it came, if trailers are added to it later
	held    []byte      // the body as long as it is held back
	broke   bool        // the answer broke off
	passing bool        // the head has gone to the client
	done    bool        // the client is answered otherwise
	present func()      // answers the client then, when the backend's answer has been read
}

// maxHeld is up to where an answer is held back and can be read, in bytes.
const maxHeld = 1 << 20

// maxHints bounds the informational answers before the answer. One every few seconds is
// how a backend keeps a connection alive; a flood would go on when the client has left.
const maxHints = 1000

func (x *exchange) Header() http.Header { return x.w.Header() }

func (x *exchange) WriteHeader(code int) {
	switch {
	case code < 200 && code != http.StatusSwitchingProtocols:
		if x.hints++; x.hints > maxHints {
			x.giveUp()
			return
		}
		x.w.WriteHeader(code)
	case x.code != 0, x.hints > maxHints: // a proxy's word for a request that was given up
	default:
		x.code, x.head = code, beforeTrailers(x.Header())
		if !x.mayNameJob() {
			x.pass()
		}
	}
}

func (x *exchange) Write(p []byte) (int, error) {
	if x.hints > maxHints {
		return 0, ErrOnlyHints
	}
	if x.code == 0 {
		x.WriteHeader(http.StatusOK)
	}
	switch {
	case x.done: // it is longer than can be read, and the client gets none of it
		return 0, errAnswerTooLong
	case x.passing:
		return x.w.Write(p)
	case len(x.held)+len(p) <= maxHeld:
		x.held = append(x.held, p...)
		return len(p), nil
	}
	x.held = append(x.held, p...)
	x.decide(true)
	return len(p), nil
}

// FlushError passes a flush on as soon as there is something to flush.
func (x *exchange) FlushError() error {
	if !x.passing {
		return nil
	}
	return http.NewResponseController(x.w).Flush()
}

// Unwrap lets a transport reach deadlines and take over the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

// mayNameJob tells from the head whether the answer has to be read before it is
// passed on.
func (x *exchange) mayNameJob() bool {
	return !streams(x.Header().Get("Content-Type")) && x.submission.Job.Adapter.MayNameJob(adapter.Answer{Code: x.code, Header: x.Header()})
}

// streams reports whether a body of this type is read as it comes. It is not held
// back: no job API answers a submit like that.
func streams(contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	switch media {
	case "text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/stream+json":
		return true
	}
	return strings.HasPrefix(media, "multipart/")
}

// pass sends the head and what was held back.
func (x *exchange) pass() {
	x.passing = true
	x.w.WriteHeader(x.code)
	if len(x.held) > 0 {
		// The client may have left. The backend's answer counts all the same.
		_, _ = x.w.Write(x.held)
		x.held = nil
	}
}

// decide reads the answer, stores the intent if it names a job, and answers the
// client. Cut says that the body is not whole.
func (x *exchange) decide(cut bool) {
	answer := adapter.Answer{Code: x.code, Header: x.Header(), Body: x.held, Cut: cut}
	request, _ := x.capture.whole()
	reading, err := x.submission.Job.Adapter.ReadSubmit(adapter.Submitted{
		Params: x.submission.Params,
		Body:   request,
		Host:   x.host,
		Scheme: x.submission.Scheme,
		Path:   x.path,
	}, answer)
	if err != nil {
		x.warnNoJob(err)
		if x.broke && x.submission.Key != "" && x.reservation != nil {
			x.endUncertain() // what is missing may be the job's name
		}
		x.unreserve()
		x.pass()
		return
	}
	x.engine.warnInferred(x.submission.Job, reading)
	o := x.open(reading)
	plain := x.Header().Clone() // for the case that there will be no intent
	reply := x.compose(&o.intent, cut)
	failpoint.Hit(failpoint.Answered)
	if err := x.settle(&o, x.remember(reply)); err != nil {
		x.engine.log().Error("storing an intent", "job", x.submission.Job.Name, "err", err)
		x.engine.meter.Unkept(x.submission.Job.JobName)
		x.restore(plain)
		x.Header().Set("Intent-Status", "unavailable")
		x.pass()
		return
	}
	x.known(o.intent.ID)
	failpoint.Hit(failpoint.Stored)
	x.send(reply)
	failpoint.Hit(failpoint.Told)
}

// decideWithTrailers is decide when trailers may have come. They go where they belong.
func (x *exchange) decideWithTrailers(cut bool) {
	if x.head == nil {
		x.decide(cut)
		return
	}
	late := x.Header().Clone()
	x.restore(x.head)
	x.decide(cut)
	if x.passing {
		maps.Copy(x.Header(), late)
	}
}

// finish completes the exchange when the transport is through with it.
func (x *exchange) finish(err error) error {
	if x.hints > maxHints {
		err = ErrOnlyHints
	}
	if err != nil && x.code == 0 {
		if x.reservation != nil && x.submission.Key != "" && !errors.Is(err, ErrNotSent) {
			x.endUncertain()
		}
		x.unreserve()
		return err
	}
	if x.code == 0 {
		x.WriteHeader(http.StatusOK) // a handler that writes nothing answers 200
	}
	if err == nil && !isSick(x.code) {
		x.engine.reached(x.submission.Job.JobName)
	}
	if !x.passing && !x.done {
		x.broke = err != nil
		x.decideWithTrailers(x.broke)
	}
	x.unreserve()
	switch {
	case x.done:
		x.present()
	case err != nil:
		// The client gets what there is, and must not take half an answer for a whole one.
		_ = http.NewResponseController(x.w).Flush()
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (x *exchange) warnNoJob(err error) {
	job := x.submission.Job
	var none *adapter.NoJobError
	switch {
	case !errors.As(err, &none):
		x.engine.log().Warn("reading the answer to a submit", "job", job.Name, "err", err)
	case none.Denied:
		x.engine.log().Debug("the backend refused a submit in its answer", "job", job.Name, "code", x.code)
	case none.Refused != "" && x.engine.told.first("refused", job.Scope, job.Name):
		x.engine.log().Warn("the backend names a status URL elsewhere; there is no intent",
			"job", job.Name, "url", none.Refused, "add", "allow_host <host>, or a status line")
	case none.Refused != "":
	case x.engine.told.first("no job", job.Scope, job.Name, none.Error()):
		x.engine.log().Warn("the answer to a submit names no job; there is no intent",
			"job", job.Name, "code", x.code, "keys", none.Keys, "err", none)
	}
}

func (e *Engine) warnInferred(job *Job, r adapter.SubmitReading) {
	if r.Refused != "" && e.told.first("refused", job.Scope, job.Name) {
		e.log().Warn("the backend names a status URL elsewhere; the job's status template is used",
			"job", job.Name, "url", r.Refused, "add", "allow_host <host>")
	}
	if len(r.Pin) > 0 && e.told.first("inferred", job.Scope, job.Name) {
		e.log().Info("the job API was recognized; these lines would pin what was inferred",
			"job", job.Name, "lines", r.Pin)
	}
}
