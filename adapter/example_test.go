package adapter_test

import (
	"fmt"
	"net/http"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// A report API answers a POST with a job id and is asked for the status until the
// report is done. Two paths describe it; the rest is found in its answers.
func Example() {
	job, err := adapter.Compile(adapter.Spec{
		Submit: adapter.Route{Method: "POST", Path: "/reports/generate"},
		Status: &adapter.Endpoint{Target: "/reports/status/{job_id}"},
		Result: &adapter.Result{Expr: "body.url"},
	}, adapter.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}

	submitted, err := job.ReadSubmit(
		adapter.Submitted{Host: "api.example.com", Scheme: "https", Path: "/reports/generate"},
		answer(202, `{"job_id": "r-17", "status": "pending"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, line := range submitted.Pin {
		fmt.Println("inferred:", line)
	}

	in := &intent.Intent{Delivery: submitted.Delivery}
	poll, err := job.PollRequest(in)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(poll.Method, poll.URL)

	for _, body := range []string{
		`{"status": "running", "percent": 40}`,
		`{"status": "done", "url": "/reports/r-17.pdf"}`,
	} {
		read := job.ReadPoll(in, answer(200, body))
		if read.Reading.Progress != nil {
			fmt.Println(read.Reading.Status, *read.Reading.Progress)
		} else {
			fmt.Println(read.Reading.Status, read.Reading.ResultURL)
		}
		in.Memory = read.Memory
	}
	// Output:
	// inferred: job_id body.job_id
	// inferred: state body.status
	// GET /reports/status/r-17
	// IN_PROGRESS 40
	// COMPLETED /reports/r-17.pdf
}

func answer(code int, body string) adapter.Answer {
	return adapter.Answer{Code: code, Header: http.Header{}, Body: []byte(body)}
}
