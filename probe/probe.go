package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// A Backend answers requests.
type Backend interface {
	// Do sends a request, whose URL is a path and query. Its error is [ErrOver] if
	// there are no more answers to be had.
	Do(ctx context.Context, r adapter.Request) (adapter.Answer, error)

	// Wait lets time pass between two requests, less of it if time is short.
	Wait(ctx context.Context, d time.Duration) error
}

// ErrOver says that a Backend has no more answers.
var ErrOver = errors.New("there are no more answers")

// A Probe is one job to be run.
type Probe struct {
	Spec    adapter.Spec    // what is known already; its submit matches the request
	Submit  adapter.Request // with its body and headers
	Host    string          // as the backend is called
	Scheme  string
	Backend Backend

	Interval time.Duration // from one poll to the next, unless the backend says otherwise
	Linger   time.Duration // for how long to go on asking after the end
}

// maxPolls bounds a report.
const maxPolls = 1000

// Run runs the job. It answers an error only if the Spec cannot be used: what goes
// wrong at the backend is in the report.
func (p Probe) Run(ctx context.Context) (*Report, error) {
	job, err := adapter.Compile(p.Spec, adapter.Options{})
	if err != nil {
		return nil, err
	}
	path, _, _ := strings.Cut(p.Submit.URL, "?")
	params, ok := job.MatchSubmit(p.Submit.Method, path)
	if !ok {
		route := job.Route()
		return nil, fmt.Errorf("submit: %s %s is not %s %s", p.Submit.Method, path, route.Method, route.Path)
	}
	r := &run{Probe: p, job: job, report: &Report{Spec: p.Spec}}
	r.submitted = adapter.Submitted{Params: params, Host: p.Host, Scheme: p.Scheme, Path: path}
	if job.ReadsRequest() {
		r.submitted.Body = p.Submit.Body
	}
	if r.submit(ctx) {
		r.follow(ctx)
	}
	r.conclude()
	return r.report, nil
}

// A run is a probe under way.
type run struct {
	Probe
	job       *adapter.Job
	submitted adapter.Submitted
	answers   answers
	in        intent.Intent
	report    *Report
	ended     bool
	pause     time.Duration // what the backend asked for
}

// The answers of a run, to try a Spec on.
type answers struct {
	submit adapter.Answer
	polls  []adapter.Answer // the first ones and the last one
}

// maxKept bounds the answers that are kept, and with each line read again.
const maxKept = 100

func (a *answers) add(poll adapter.Answer) {
	if len(a.polls) == maxKept {
		a.polls = a.polls[:maxKept-1]
	}
	a.polls = append(a.polls, poll)
}

// step begins a step of the report with a request and its answer.
func (r *run) step(ctx context.Context, what string, request adapter.Request) (*Step, adapter.Answer, bool) {
	answer, err := r.Backend.Do(ctx, request)
	if errors.Is(err, ErrOver) {
		return nil, answer, false
	}
	r.report.Steps = append(r.report.Steps, Step{What: what, Request: request.Method + " " + withoutQuery(request.URL)})
	step := &r.report.Steps[len(r.report.Steps)-1]
	if err != nil {
		step.say("no answer: %v", err)
		return step, answer, false
	}
	step.Code, step.Answer = answer.Code, excerpt(answer)
	return step, answer, true
}

// submit starts the job. It answers false if there is none to follow.
func (r *run) submit(ctx context.Context) bool {
	step, answer, ok := r.step(ctx, "submit", r.Submit)
	if !ok {
		r.report.warn("The submit got no answer.")
		return false
	}
	r.answers.submit = answer
	read, err := r.job.ReadSubmit(r.submitted, answer)
	if err != nil {
		r.noJob(step, answer, err)
		return false
	}
	r.report.Job = read.Delivery.JobID
	r.in = intent.Intent{Delivery: read.Delivery, Polling: intent.Polling{Memory: read.Memory}}
	r.in.Host, r.in.Scheme = r.Host, r.Scheme
	r.in.Request, r.in.Captured = r.submitted.Body, r.submitted.Body != nil
	r.pause = read.RetryAfter
	step.say("the job's id is %q", read.Delivery.JobID)
	step.say("its status URL is %s", withoutQuery(read.Delivery.StatusURL))
	for _, line := range read.Pin {
		step.say("inferred: %s", line)
		r.learn(line)
	}
	if read.Refused != "" {
		r.report.warn("The URL %s was not used: it names another host. If that is the backend, too, write allow_host.", read.Refused)
	}
	if read.Reading != nil {
		step.Status = read.Reading.Status
		step.say("%s", describe(*read.Reading))
		r.end(*read.Reading)
	}
	return !r.ended
}

// noJob explains an answer that names no job.
func (r *run) noJob(step *Step, answer adapter.Answer, err error) {
	step.say("%v", err)
	none, ok := errors.AsType[*adapter.NoJobError](err)
	switch {
	case answer.Code == http.StatusUnauthorized, answer.Code == http.StatusForbidden:
		r.report.warn("The submit was refused with %d: give credentials with --header.", answer.Code)
	case answer.Code >= 300 && answer.Code < 400:
		r.report.warn("The submit was redirected with %d, which is not followed: submit to where it points.", answer.Code)
	case answer.Code >= 400:
		r.report.warn("The submit failed with %d: --data may not be what the API wants.", answer.Code)
	case ok && strings.Contains(none.Why, "status URL"):
		r.report.warn("Where to ask for the job is not known: say it by --status, for example --status '/jobs/{job_id}'.")
	case ok && len(none.Keys) > 0:
		r.report.warn("No job was found in the answer. Its fields are: %s. Name the one with the id by --job-id, for example --job-id body.%s.", strings.Join(none.Keys, ", "), none.Keys[0])
	default:
		r.report.warn("No job was found in the answer.")
	}
	if ok && none.Refused != "" {
		r.report.warn("The URL %s was not used: it names another host.", none.Refused)
	}
}

// follow polls until the job has ended, and a little longer.
func (r *run) follow(ctx context.Context) {
	for range maxPolls {
		if r.Backend.Wait(ctx, cmp.Or(r.pause, r.Interval)) != nil {
			r.timeIsOver()
			return
		}
		request, err := r.job.PollRequest(&r.in)
		if err != nil {
			r.report.warn("The status cannot be asked for: %v.", err)
			return
		}
		if !r.poll(ctx, request) {
			return
		}
		if r.ended {
			if r.report.Status != "" {
				r.linger(ctx, request)
			}
			return
		}
	}
	r.report.warn("The job had not ended after %d polls: ask less often with --interval.", maxPolls)
}

func (r *run) timeIsOver() {
	r.report.warn("The job had not ended when time was over: give it more with --limit.")
}

// poll asks once. It answers false if there is no use in asking again.
func (r *run) poll(ctx context.Context, request adapter.Request) bool {
	step, answer, ok := r.step(ctx, "poll", request)
	switch {
	case step == nil:
		r.report.warn("The answers end before the job has ended.")
		return false
	case !ok && ctx.Err() != nil:
		r.timeIsOver()
		return false
	case !ok:
		return true
	}
	r.answers.add(answer)
	reasons := r.job.Reasons(&r.in, answer)
	read := r.job.ReadPoll(&r.in, answer)
	r.in.Memory, r.pause = read.Memory, read.RetryAfter
	if read.Refused != "" {
		r.report.warn("The URL %s was not used: it names another host.", read.Refused)
	}
	if read.Outcome != adapter.Readable {
		step.say("%s: %s", read.Outcome, read.Reason)
		r.doubt(read, answer)
		if r.ended = read.Outcome == adapter.Gone; r.ended {
			r.report.warn("The backend said that it does not know the job any more (%d).", answer.Code)
		}
		return true
	}
	step.Status, step.Reasons = read.Reading.Status, reasons
	step.say("%s", describe(read.Reading))
	for _, reason := range reasons {
		step.say("because %s", because(reason))
		if reason.Auto {
			r.learn(reason.Line)
		}
	}
	r.unknown(read.Reading)
	if read.Reading.Status.Terminal() && read.Fetch != nil {
		r.fetch(ctx, *read.Fetch, read.Reading)
	} else {
		r.end(read.Reading)
	}
	return true
}

// doubt warns of an answer that tells no state.
func (r *run) doubt(read adapter.PollReading, answer adapter.Answer) {
	switch {
	case answer.Code == http.StatusUnauthorized, answer.Code == http.StatusForbidden:
		r.report.warn("A status request was refused with %d: polls need credentials of their own, in the block of status.", answer.Code)
	case answer.Code >= 300 && answer.Code < 400 && answer.Code != http.StatusNotModified:
		r.report.warn("A status request was redirected with %d, which is not followed: write the path that it leads to, or what it means: state { completed when `code == %d` }.", answer.Code, answer.Code)
	case read.Outcome == adapter.Missing && !r.ended:
		r.report.warn("The status was unknown for a while (%s): poll { grace } says for how long that is believed to be passing.", read.Reason)
	case read.Outcome == adapter.Unreadable:
		r.report.warn("An answer could not be read: %s.", read.Reason)
	}
}

func (r *run) fetch(ctx context.Context, request adapter.Request, reading intent.Reading) {
	step, answer, ok := r.step(ctx, "fetch", request)
	if ok {
		reading = r.job.ReadFetched(&r.in, reading, answer)
		step.Status = reading.Status
		step.say("%s", describe(reading))
	}
	if !ok || answer.Code < 200 || answer.Code > 299 {
		r.report.warn("The result could not be fetched.")
	}
	r.end(reading)
}

// end notes that the job is over.
func (r *run) end(reading intent.Reading) {
	if reading.Status.Terminal() {
		r.ended = true
		r.report.Status = reading.Status
	}
}

// linger asks on for a while after the end, to see whether the answer stays.
func (r *run) linger(ctx context.Context, request adapter.Request) {
	var since time.Duration
	for pause := time.Second; since+pause <= r.Linger; pause *= 2 {
		if r.Backend.Wait(ctx, pause) != nil {
			return
		}
		since += pause
		step, answer, ok := r.step(ctx, "afterwards", request)
		if !ok {
			return
		}
		read := r.job.ReadPoll(&r.in, answer)
		switch {
		case read.Outcome == adapter.Missing || read.Outcome == adapter.Gone:
			step.say("the answer is gone")
			r.report.warn("The status is gone %s after the end at the latest: poll at least that often, poll 1s { max_interval 2s }, or an end is missed.", since)
			return
		case read.Outcome == adapter.Readable && read.Reading.Status != r.report.Status:
			step.Status = read.Reading.Status
			step.say("%s, after it was %s", read.Reading.Status, r.report.Status)
			r.report.warn("The job went on after what was taken for its end: write state and its words by hand.")
			return
		}
		step.say("as before")
	}
}
