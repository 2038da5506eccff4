package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// What it costs to read one status answer of a kilobyte, by a spec that has paths
// only and by one with rules and arithmetic, beside encoding/json, which decodes the
// same body into a map. The budgets are 15 us and 40 us on a quiet machine where the
// map takes 7.7 us. Their ratios, rounded down, are the limits here: they mean the
// same on any machine.
const (
	readingSize  = 1024
	readingBatch = 200 // readings of each kind in turn
	readingTurns = 50  // a round
	pathsLimit   = 1.9
	rulesLimit   = 5.0
)

// readingBody is an answer as job APIs give it: what matters, and a log beside it.
func readingBody() []byte {
	const head = `{"id":"7","job":{"id":"7","status":"running","percent":40,"done":4,"all":10,"errors":0,"step":"rendering","flags":["RUNNING","REQUEUED"],` +
		`"created":"2026-03-01T12:00:00Z","owner":{"name":"ada","team":"reports"}},"links":[{"rel":"self","href":"/jobs/7"},{"rel":"cancel","href":"/jobs/7/cancel"}],"log":"`
	const tail = `"}`
	return []byte(head + strings.Repeat("row read; ", readingSize)[:readingSize-len(head)-len(tail)] + tail)
}

// The two specs, as they are written about such an answer.
func pathsSpec() adapter.Spec {
	s := adapter.Spec{
		Submit: adapter.Route{Path: submitPath}, Status: &adapter.Endpoint{Target: statusPath + "{job_id}"},
		State: &adapter.State{Expr: "body.job.status", Words: map[string][]string{
			"in_progress": {"queued", "running"}, "completed": {"done"}, "failed": {"error"}}},
		Progress: &adapter.Progress{Percent: "body.job.percent"},
		Message:  "body.job.step",
	}
	return s
}

func rulesSpec() adapter.Spec {
	s := pathsSpec()
	s.State.Rules = []adapter.Rule{
		{Status: "gone", When: "code == 500 && body.number == 2017"},
		{Status: "timed_out", When: `"TIMEOUT" in body.job.flags`},
		{Status: "failed", When: `body.job.status == "done" && body.job.errors > 0`},
	}
	s.Progress = &adapter.Progress{Fraction: "double(body.job.done) / double(body.job.all)"}
	return s
}

func measureReading(ctx context.Context, b *bench) error {
	turns := b.sized(readingTurns)
	b.about("reading", "an answer of %d bytes, %d times in turn, %d turns a round", readingSize, readingBatch, turns)
	body := readingBody()
	var decoded any
	plain := func() error { decoded = nil; return json.Unmarshal(body, &decoded) }
	for _, kind := range []struct {
		what  string
		spec  adapter.Spec
		limit float64
	}{{"reading 1 KB by paths", pathsSpec(), pathsLimit}, {"reading 1 KB by paths and rules", rulesSpec(), rulesLimit}} {
		read, err := reader(kind.spec, body)
		if err != nil {
			return err
		}
		var r rounds
		for round := range b.rounds + 1 {
			ours, theirs, err := inTurn(ctx, turns, read, plain)
			if err != nil {
				return err
			}
			if round > 0 { // the first one warms up
				r.add(ours, theirs)
			}
		}
		b.results = append(b.results, result{
			what:     kind.what,
			ours:     fmt.Sprintf("%.1f us", median(r.ours)/1e3),
			baseline: fmt.Sprintf("encoding/json into a map %.1f us", median(r.baseline)/1e3),
			ratio:    r.ratio(), limit: kind.limit,
		})
	}
	return nil
}

// reader reads body once whenever it is called, and checks what was read.
func reader(s adapter.Spec, body []byte) (func() error, error) {
	compiled, err := adapter.Compile(s, adapter.Options{})
	if err != nil {
		return nil, err
	}
	in := &intent.Intent{Delivery: intent.Delivery{JobID: "7", StatusURL: statusPath + "7"}}
	a := adapter.Answer{Code: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
	return func() error {
		r := compiled.ReadPoll(in, a).Reading
		if r.Status != intent.InProgress || r.Progress == nil || *r.Progress != 40 || r.Message != "rendering" {
			return errors.New("the answer was read as something else")
		}
		return nil
	}, nil
}

// inTurn calls both by turns, and answers how many nanoseconds of CPU a call of each
// takes, the garbage that it makes included.
func inTurn(ctx context.Context, turns int, ours, theirs func() error) (own, other float64, err error) {
	var spent [2]time.Duration
	for range turns {
		for i, call := range []func() error{ours, theirs} {
			begun, err := ownCPU()
			for range readingBatch {
				err = errors.Join(err, call())
			}
			ended, failed := ownCPU()
			if err = errors.Join(err, failed); err != nil {
				return 0, 0, err
			}
			spent[i] += ended - begun
		}
		if ctx.Err() != nil {
			return 0, 0, ctx.Err()
		}
	}
	calls := float64(turns * readingBatch)
	return float64(spent[0]) / calls, float64(spent[1]) / calls, nil
}

// ownCPU is the time that this process has spent on CPUs, finer than /proc tells it.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("reading the CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
