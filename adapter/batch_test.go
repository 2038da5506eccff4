package adapter_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// batch plays the answer to a batch about the jobs that the first line names.
func (p *player) batch(name, exchange string) {
	ids, answer, _ := strings.Cut(exchange, "\n")
	fmt.Fprintln(&p.out, name)
	ins := intentsOf(p.job, &p.in, strings.Fields(ids), func(id string) { p.say("alone", id) })
	request, n, err := p.job.BatchRequest(ins)
	require.NoError(p.t, err)
	p.say("ask", requestText(request))
	read := p.job.ReadBatch(ins[:n], parseAnswer(p.t, answer))
	if read.Refused {
		p.say("refused", read.Reason)
	}
	for i, in := range ins[:n] {
		if r := read.Readings[i]; r == nil {
			p.say(in.JobID, "is to be asked for alone")
		} else {
			p.say(in.JobID, pollText(*r))
		}
	}
	for _, in := range ins[n:] {
		p.say(in.JobID, "has no room")
	}
}

// intentsOf makes intents like one, but for the jobs. Those that have to be asked
// for alone are left out.
func intentsOf(job *adapter.Job, like *intent.Intent, ids []string, alone func(id string)) []*intent.Intent {
	var ins []*intent.Intent
	for _, id := range ids {
		in := *like
		in.JobID = id
		if _, ok := job.BatchKey(&in); !ok {
			alone(id)
			continue
		}
		ins = append(ins, &in)
	}
	return ins
}

func TestABatchTakesAsManyIDsAsFitIntoAURL(t *testing.T) {
	job := compile(t, statusSpec(`"poll":{"batch":{"target":"/jobs?ids={job_ids}"}}`), adapter.Options{})
	var ids []string
	for i := range 100 {
		ids = append(ids, strings.Repeat("x", 200)+fmt.Sprint(i))
	}
	ins := intentsOf(job, running(), ids, func(id string) { t.Error(id) })
	request, n, err := job.BatchRequest(ins)
	require.NoError(t, err)
	require.Less(t, n, 100)
	require.Greater(t, n, 10)
	require.Contains(t, request.URL, ids[n-1])
	require.LessOrEqual(t, len(request.URL), 8<<10)
}

func TestIntentsThatDifferInWhatTheBatchSaysShareNoRequest(t *testing.T) {
	job := compile(t, `{"submit":{"path":"/{params.tenant}/{params.user}/jobs"},"status":{"target":"/jobs/{job_id}"},
		"poll":{"batch":{"target":"/{params.tenant}/jobs?ids={job_ids}"}}}`, adapter.Options{})
	key := func(tenant, user string) string {
		in := running()
		in.Params = map[string]string{"tenant": tenant, "user": user}
		key, ok := job.BatchKey(in)
		require.True(t, ok)
		return key
	}
	require.Equal(t, key("a", "x"), key("a", "y"))
	require.NotEqual(t, key("a", "x"), key("b", "x"))
}

func TestAParameterOfTheSubmitIsOneValueInTheBodyOfABatch(t *testing.T) {
	job := compile(t, `{"submit":{"path":"/{params.shard}/{params.user}"},"status":{"target":"/jobs/{job_id}"},
		"poll":{"batch":{"target":"/jobs","body":"{\"shard\":{params.shard},\"user\":\"{params.user}\",\"ids\":{job_ids}}"}}}`, adapter.Options{})
	body := func(shard, user string) (string, error) {
		in := running()
		in.Params = map[string]string{"shard": shard, "user": user}
		r, _, err := job.BatchRequest([]*intent.Intent{in})
		return string(r.Body), err
	}
	sent, err := body("1", `a","admin":"yes`)
	require.NoError(t, err)
	require.Equal(t, `{"shard":1,"user":"a\",\"admin\":\"yes","ids":["7"]}`, sent)
	_, err = body("1],[null", "a")
	require.ErrorContains(t, err, "shard")
}

func TestABatchAnswerIsBounded(t *testing.T) {
	job := compile(t, statusSpec(`"poll":{"batch":{"target":"/jobs"}}`), adapter.Options{})
	read := job.ReadBatch([]*intent.Intent{running()}, ok("["+strings.Repeat(`{"id":"8"},`, 10_000)+`{"id":"7"}]`))
	require.Equal(t, adapter.Unreadable, read.Outcome)
	require.Equal(t, adapter.Unreadable, read.Readings[0].Outcome)
}

// FuzzBatch promises that no answer to a batch panics, and that none is about a job
// that it does not name.
func FuzzBatch(f *testing.F) {
	f.Add(`[{"id":"7","status":"done"}]`, "")
	f.Add(`{"done":["7",{"id":"7"}],"running":[]}`, "state")
	f.Add(`{"7":"done"}`, "id")
	f.Add(`<jobs><job id="7"/></jobs>`, "")
	jobs := make(map[string]*adapter.Job)
	for _, keyed := range []string{"", "id", "state"} {
		jobs[keyed] = compile(f, statusSpec(`"poll":{"batch":{"target":"/jobs","keyed":"`+keyed+`"}}`), adapter.Options{})
	}
	f.Fuzz(func(t *testing.T, body, keyed string) {
		job := jobs[keyed]
		if job == nil {
			return
		}
		other := running()
		other.JobID = "never-named-here"
		read := job.ReadBatch([]*intent.Intent{running(), other}, ok(body))
		require.Len(t, read.Readings, 2)
		if r := read.Readings[1]; r != nil && r.Outcome == adapter.Readable && !strings.Contains(body, "never-named") && !strings.Contains(body, `\`) {
			t.Fatalf("%+v", r)
		}
	})
}
