package adapter

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

func testIntent() *intent.Intent {
	return &intent.Intent{Delivery: intent.Delivery{JobID: "7", StatusURL: "/jobs/7"}}
}

func BenchmarkReadPoll(b *testing.B) {
	words := map[string][]string{"in_progress": {"running"}, "completed": {"done"}}
	paths := Spec{
		State:    &State{Expr: "body.job.status", Words: words},
		Progress: &Progress{Percent: "body.job.percent"},
		Message:  "body.job.step",
	}
	rules := paths
	rules.State = &State{Expr: "body.job.status", Words: words, Rules: []Rule{
		{Status: "failed", When: "body.job.done && body.job.errors > 0"},
		{Status: "canceled", When: "code == 410"},
	}}
	rules.Progress = &Progress{Fraction: "double(body.job.n) / double(body.job.of)"}
	body := `{"job":{"id":"7","status":"running","percent":40,"n":4,"of":10,"done":false,"errors":0,"step":"rendering"},"log":"` + strings.Repeat("x", 600) + `"}`
	for name, spec := range map[string]Spec{"paths": paths, "rules": rules, "auto": {}} {
		b.Run(name, func(b *testing.B) {
			spec.Submit, spec.Status = Route{Path: "/jobs"}, &Endpoint{Target: "/jobs/{job_id}"}
			job, err := Compile(spec, Options{})
			require.NoError(b, err)
			in := testIntent()
			a := Answer{Code: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
			b.ReportAllocs()
			for b.Loop() {
				if read := job.ReadPoll(in, a); read.Reading.Progress == nil {
					b.Fatal(read)
				}
			}
		})
	}
}
