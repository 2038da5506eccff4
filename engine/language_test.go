package engine_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
)

// submitScripted starts the job of a scripted backend.
func (et *tester) submitScripted() intent.ID {
	et.t.Helper()
	w := et.post()
	id, err := intent.ParseID(w.Header().Get("Intent-Id"))
	require.NoError(et.t, err, "answer %d %s", w.Code, w.Body)
	return id
}

func TestTheSecondHopIsFollowedAcrossARestart(t *testing.T) {
	b := newScript(map[string][]string{
		"POST /reports/generate": {"201 Location: /queue/31/|"},
		"GET /queue/31/":         {`200 {"why":"quiet"}`, `200 {"run":{"url":"http://localhost/runs/12/"}}`},
		"GET /runs/12/":          {`200 {"building":true}`},
		"POST /runs/12/stop":     {"302 "},
	})
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.submitScripted()
		et.watch(id, time.Hour)
		et.advance(5 * time.Second)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		et.restart()
		et.watch(id, time.Hour)
		et.advance(5 * time.Second)
		require.Equal(t, []string{"POST /reports/generate", "GET /queue/31/", "GET /runs/12/"}, b.sent(), "and not back to the queue")
		require.Equal(t, "/queue/31/", et.get(id).StatusURL, "that is the name of the job")
		b.says("GET /runs/12/", `200 {"building":false,"result":"SUCCESS"}`)
		et.advance(3 * time.Second)
		in := et.get(id)
		require.Equal(t, intent.Completed, in.Status)
		require.JSONEq(t, `{"building":false,"result":"SUCCESS"}`, string(in.Result))
	}, scripted(b, twoHops))
}

func TestTheCancelGoesToTheHopThatTheJobIsIn(t *testing.T) {
	b := newScript(map[string][]string{
		"POST /reports/generate":   {"201 Location: /queue/31/|"},
		"GET /queue/31/":           {`200 {"run":{"url":"/runs/12/"}}`},
		"GET /runs/12/":            {`200 {"building":true}`},
		"POST /runs/12/stop":       {"302 "},
		"POST /queue/cancel?id=31": {"204 "},
	})
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.submitScripted()
		et.advance(5 * time.Second)
		in, err := et.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.NoError(t, err)
		require.Equal(t, intent.Canceled, in.Status)
		require.Equal(t, 1, b.count("POST /runs/12/stop"))
		require.Zero(t, b.count("POST /queue/cancel?id=31"))
	}, scripted(b, twoHops))
}

func twoHops(s *adapter.Spec) {
	s.Status, s.StatusURL = nil, "headers.location"
	s.Cancel = &adapter.Endpoint{Method: "POST", Target: "/queue/cancel?id={job_id}"}
	s.JobID = "regex.extract(headers.location, '([0-9]+)/$')"
	s.Then = &adapter.Hop{
		StatusURL: "body.run.url",
		Params:    map[string]string{"stop": "body.run.url + 'stop'"},
		Cancel:    &adapter.Endpoint{Method: "POST", Target: "{params.stop}", Accept: []int{302}},
		State: &adapter.State{Expr: "body.result", Rules: []adapter.Rule{{Status: "in_progress", When: "body.building"}},
			Words: map[string][]string{"completed": {"SUCCESS"}}},
	}
}

func TestAStatusURLThatMovesIsFollowedAcrossARestart(t *testing.T) {
	b := newScript(map[string][]string{
		"POST /reports/generate": {`200 {"id":"q","nextUri":"/q/1"}`},
		"GET /q/1":               {`200 {"nextUri":"/q/2"}`},
		"GET /q/2":               {`200 {"nextUri":"/q/3"}`},
		"GET /q/3":               {"503 "},
	})
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.submitScripted()
		et.watch(id, time.Hour)
		et.advance(7 * time.Second)
		et.restart()
		et.watch(id, time.Hour)
		b.says("GET /q/3", `200 {"rows":1}`)
		et.advance(5 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
		require.Equal(t, []string{"POST /reports/generate", "GET /q/1", "GET /q/2", "GET /q/3"}, b.sent(), "no answer is asked for twice")
		require.Equal(t, 1, b.count("GET /q/1"))
	}, scripted(b, func(s *adapter.Spec) {
		s.Status, s.Cancel = nil, nil
		s.StatusURL, s.NextURL = "body.nextUri", "body.nextUri"
		s.State = &adapter.State{Rules: []adapter.Rule{{Status: "completed", When: "code == 200 && !has(body.nextUri)"}}}
	}))
}

func TestNotModifiedIsNoChange(t *testing.T) {
	b := newScript(map[string][]string{
		"POST /reports/generate": {`202 {"job_id":"1"}`},
		"GET /reports/status/1":  {`200 ETag: "a"|{"status":"running","percent":40,"message":"half"}`, "304 "},
	})
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.submitScripted()
		et.watch(id, time.Hour)
		et.advance(30 * time.Minute)
		in := et.get(id)
		require.Equal(t, intent.InProgress, in.Status)
		require.InDelta(t, 40, *in.Progress, 0)
		require.Equal(t, "half", in.Message)
		require.Zero(t, in.Unreadable)
		require.Len(t, et.events(id), 4, "nothing was told twice")
		require.Equal(t, "", b.tags[1])
		require.Equal(t, `"a"`, b.tags[2])
		polled, _ := et.engine.Polling(id)
		require.Zero(t, polled.Failures)
		b.says("GET /reports/status/1", `200 {"status":"done"}`)
		et.advance(3 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	}, scripted(b, func(*adapter.Spec) {}))
}

func TestAFinalAnswerToTheSubmitEndsTheIntentAtOnce(t *testing.T) {
	b := newScript(map[string][]string{"POST /reports/generate": {`200 {"rows":[1,2]}`}})
	inBubble(t, func(t *testing.T, et *tester) {
		w := et.post()
		require.Equal(t, `{"rows":[1,2]}`, w.Body.String(), "it is the result, and stays as it is")
		id, err := intent.ParseID(w.Header().Get("Intent-Id"))
		require.NoError(t, err)
		et.wantEvents(id, "created submitted delivered in_progress completed")
		require.JSONEq(t, `{"rows":[1,2]}`, string(et.get(id).Result))
		et.advance(time.Hour)
		require.Equal(t, []string{"POST /reports/generate"}, b.sent())
		et.advance(24 * time.Hour)
		_, err = et.store.Get(t.Context(), id)
		require.Error(t, err, "it is kept for as long as others")
	}, scripted(b, func(s *adapter.Spec) { s.Submit.FinalWhen = "has(body.rows)" }))
}

func TestARefusalInA200MakesNoIntent(t *testing.T) {
	b := newScript(map[string][]string{"POST /reports/generate": {`200 {"job_id":7,"errors":["no such partition"]}`}})
	inBubble(t, func(t *testing.T, et *tester) {
		w := et.post()
		require.Equal(t, http.StatusOK, w.Code)
		require.JSONEq(t, `{"job_id":7,"errors":["no such partition"]}`, w.Body.String())
		require.Empty(t, w.Header().Get("Intent-Id"))
		et.advance(time.Minute)
		require.Equal(t, []string{"POST /reports/generate"}, b.sent())
		require.Empty(t, et.log.with("names no job"), "nothing is missing in the config")
	}, scripted(b, func(s *adapter.Spec) { s.Submit.RefusedWhen = "size(body.errors) > 0" }))
}

func TestAResultThatSaysThatTheJobFailedFailsIt(t *testing.T) {
	b := newScript(map[string][]string{
		"POST /reports/generate": {`202 {"job_id":"1"}`},
		"GET /reports/status/1":  {`200 {"status":"COMPLETED"}`},
		"GET /reports/result/1":  {`422 {"detail":"prompt is empty"}`},
	})
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.submitScripted()
		et.advance(time.Second)
		in := et.get(id)
		require.Equal(t, intent.Failed, in.Status)
		require.Equal(t, "prompt is empty", in.Error.Message)
		require.Empty(t, in.ResultURL)
	}, scripted(b, func(s *adapter.Spec) {
		s.Result = &adapter.Result{Fetch: &adapter.Endpoint{Target: "/reports/result/{job_id}"}, FailedWhen: "code >= 400 && code < 500"}
	}))
}

func TestAnAPIThatIsAskedByPost(t *testing.T) {
	b := newScript(map[string][]string{
		"POST /reports/generate": {`202 {"job_id":"1"}`},
		"POST /rpc":              {`200 {"status":"running"}`, `200 {"status":"done"}`},
	})
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.submitScripted()
		et.advance(10 * time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
		require.Equal(t, 2, b.count("POST /rpc"))
	}, scripted(b, func(s *adapter.Spec) {
		s.Status, s.Cancel = &adapter.Endpoint{Target: "/rpc", Body: `{"get":"{job_id}"}`}, nil
	}))
}

func TestAQueueThatForgetsWhatHasLeftItLosesNothing(t *testing.T) {
	b := newScript(map[string][]string{
		"POST /reports/generate": {"201 Location: /queue/31/|"},
		"GET /queue/31/":         {`200 {"run":{"url":"http://localhost/runs/12/"}}`, "410 "},
		"GET /runs/12/":          {`200 {"building":true}`},
	})
	inBubble(t, func(t *testing.T, et *tester) {
		id := et.submitScripted()
		et.watch(id, time.Hour)
		et.advance(10 * time.Minute)
		require.Equal(t, intent.InProgress, et.get(id).Status)
		b.says("GET /runs/12/", "410 ")
		et.advance(3 * time.Second)
		et.wantLost(id, "410")
	}, scripted(b, twoHops))
}

func TestFinalAnswersNeedNeitherIDNorStatusURL(t *testing.T) {
	b := newScript(map[string][]string{"POST /reports/generate": {`200 {"rows":[1]}`, `200 {"rows":[2]}`}})
	inBubble(t, func(t *testing.T, et *tester) {
		for _, rows := range []string{`{"rows":[1]}`, `{"rows":[2]}`} { // two jobs without a name are two
			id := et.submitScripted()
			require.Equal(t, intent.Completed, et.get(id).Status)
			require.JSONEq(t, rows, string(et.get(id).Result))
		}
	}, scripted(b, func(s *adapter.Spec) {
		s.Submit.FinalWhen = "has(body.rows)"
		s.Status = &adapter.Endpoint{Target: "/jobs/{job_id}"}
	}))
}
