package adapter_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// A foreign vocabulary is a job API that auto was not made for: what it answers to
// the submit and to the polls, in the shapes of the API that is named.
type foreign struct {
	submit string   // 202, 200 or 201 alike: the code tells nothing here
	polls  []string // after a code other than 200; the last one is the end
	end    intent.Status
	line   string // if auto cannot know the end: the line that the warning has to ask for
}

var foreigners = map[string]foreign{
	"OpenAI batches":          {`{"id":"batch_1","object":"batch","status":"validating"}`, []string{`{"id":"batch_1","status":"in_progress","request_counts":{"total":100,"completed":40,"failed":0}}`, `{"id":"batch_1","status":"finalizing"}`, `{"id":"batch_1","status":"completed","output_file_id":"f"}`}, intent.Completed, ""},
	"OpenAI batch, expired":   {`{"id":"batch_1","status":"validating"}`, []string{`{"id":"batch_1","status":"expired"}`}, intent.TimedOut, ""},
	"AssemblyAI":              {`{"id":"5551722","status":"queued"}`, []string{`{"id":"5551722","status":"processing"}`, `{"id":"5551722","status":"error","error":"bad audio"}`}, intent.Failed, ""},
	"RunPod":                  {`{"id":"sync-1","status":"IN_QUEUE"}`, []string{`{"id":"sync-1","status":"IN_PROGRESS","delayTime":3}`, `{"id":"sync-1","status":"TIMED_OUT"}`}, intent.TimedOut, ""},
	"GitHub Actions":          {`{"id":30433642,"status":"queued","conclusion":null}`, []string{`{"id":30433642,"status":"in_progress","conclusion":null}`, `{"id":30433642,"status":"completed","conclusion":"failure"}`}, intent.Failed, ""},
	"GitHub Actions, good":    {`{"id":30433642,"status":"queued","conclusion":null}`, []string{`{"id":30433642,"status":"completed","conclusion":"success"}`}, intent.Completed, ""},
	"Stripe report runs":      {`{"id":"frr_1","object":"reporting.report_run","status":"pending","result":null}`, []string{`{"id":"frr_1","status":"succeeded","result":{"url":"https://files.stripe.com/1"}}`}, intent.Completed, ""},
	"Druid":                   {`{"task":"index_parallel_x_1"}`, []string{`{"task":"index_parallel_x_1","status":{"id":"index_parallel_x_1","status":"RUNNING"}}`, `{"task":"index_parallel_x_1","status":{"id":"index_parallel_x_1","status":"FAILED","errorMsg":"disk"}}`}, intent.Failed, ""},
	"Apache Livy":             {`{"id":12,"state":"starting"}`, []string{`{"id":12,"state":"running"}`, `{"id":12,"state":"dead"}`}, intent.Failed, ""},
	"AWX":                     {`{"id":9,"url":"/api/v2/jobs/9/","status":"new"}`, []string{`{"id":9,"status":"waiting"}`, `{"id":9,"status":"successful"}`}, intent.Completed, ""},
	"Rundeck":                 {`{"id":1,"status":"running"}`, []string{`{"id":1,"status":"aborted"}`}, intent.Canceled, ""},
	"openEO":                  {`{"id":"a3cca2b2","status":"created"}`, []string{`{"id":"a3cca2b2","status":"running","progress":75.5}`, `{"id":"a3cca2b2","status":"finished","progress":100}`}, intent.Completed, ""},
	"Google LRO":              {`{"name":"operations/1","id":"op-1"}`, []string{`{"name":"operations/1","metadata":{}}`, `{"name":"operations/1","done":false}`, `{"name":"operations/1","done":true,"error":{"code":3,"message":"bad"}}`}, intent.Failed, ""},
	"Azure OCR":               {`{"id":"r-1","status":"notStarted"}`, []string{`{"status":"running"}`, `{"status":"succeeded","analyzeResult":{}}`}, intent.Completed, ""},
	"Salesforce Bulk v2":      {`{"id":"7505","state":"Open"}`, []string{`{"id":"7505","state":"InProgress","numberRecordsProcessed":5}`, `{"id":"7505","state":"JobComplete"}`}, intent.Completed, ""},
	"UWS as JSON":             {`{"jobId":"j1","phase":"PENDING"}`, []string{`{"jobId":"j1","phase":"EXECUTING"}`, `{"jobId":"j1","phase":"ERROR","errorSummary":{"message":"x"}}`}, intent.Failed, ""},
	"Databricks runs":         {`{"run_id":455644833,"number_in_job":455644833}`, []string{`{"run_id":455644833,"state":{"life_cycle_state":"RUNNING"}}`, `{"run_id":455644833,"state":{"life_cycle_state":"TERMINATED","result_state":"SUCCESS"}}`}, "", "TERMINATED"},
	"Guidewire":               {`{"id":"gw-1","status":"Accepted"}`, []string{`{"id":"gw-1","status":"In Progress"}`, `{"id":"gw-1","status":"Complete"}`}, intent.Completed, ""},
	"GitLab pipelines":        {`{"id":46,"status":"created"}`, []string{`{"id":46,"status":"waiting_for_resource"}`, `{"id":46,"status":"skipped"}`}, "", "skipped"},
	"Rails with German words": {`{"id":3,"status":"wartend"}`, []string{`{"id":3,"status":"fertig"}`}, "", "fertig"},
	"Snowflake":               {`{"statementHandle":"019c06a4","message":"Asynchronous execution in progress."}`, []string{`202 {"statementHandle":"019c06a4","message":"Asynchronous execution in progress."}`, `200 {"statementHandle":"019c06a4","data":[["1"]]}`}, intent.Completed, ""},
	"vSphere":                 {`{"id":"task-7","status":"PENDING"}`, []string{`{"id":"task-7","status":"BLOCKED","progress":{"total":10,"completed":3}}`, `{"id":"task-7","status":"SUCCEEDED"}`}, intent.Completed, ""},
}

// The right end, or the warning with the line that is missing; never a wrong end.
func TestAutoReadsForeignVocabulariesOrAsksForTheLine(t *testing.T) {
	require.GreaterOrEqual(t, len(foreigners), 20)
	for name, f := range foreigners {
		t.Run(name, func(t *testing.T) {
			job := compile(t, `{"submit":{"path":"/jobs"},"status":{"target":"/jobs/{job_id}"}}`, adapter.Options{})
			read, err := job.ReadSubmit(adapter.Submitted{Host: "api.example.com", Scheme: "https", Path: "/jobs"}, ok(f.submit))
			require.NoError(t, err)
			require.NotEmpty(t, read.Delivery.JobID)
			in := &intent.Intent{Delivery: read.Delivery, Polling: intent.Polling{Memory: read.Memory}}
			var last adapter.PollReading
			for i, body := range f.polls {
				code := 200
				if before, rest, coded := strings.Cut(body, " {"); coded && len(before) == 3 {
					code, err = strconv.Atoi(before)
					require.NoError(t, err)
					body = "{" + rest
				}
				last = job.ReadPoll(in, answer(code, body))
				require.Equal(t, adapter.Readable, last.Outcome, last.Reason)
				in.Memory = last.Memory
				if i < len(f.polls)-1 {
					require.Equal(t, intent.InProgress, last.Reading.Status, body)
				}
			}
			if f.end != "" {
				require.Equal(t, f.end, last.Reading.Status)
				require.Empty(t, last.Reading.UnknownState)
				return
			}
			require.Equal(t, intent.InProgress, last.Reading.Status, "a guess would end a job that may go on")
			require.NotEmpty(t, f.line, "neither an end nor a warning")
			require.Equal(t, f.line, last.Reading.UnknownState)
		})
	}
}
