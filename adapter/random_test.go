package adapter

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// material is what the golden cases are made of: specs that compile, and bodies.
func material(t *testing.T) (jobs []*Job, bodies []string) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		require.NoError(t, err)
		for _, file := range archive.Files {
			var spec Spec
			switch {
			case file.Name == "spec.json" && json.Unmarshal(file.Data, &spec) == nil:
				if job, err := Compile(spec, Options{}); err == nil {
					jobs = append(jobs, job)
				}
			case strings.HasPrefix(file.Name, "poll"), strings.HasPrefix(file.Name, "submit"):
				_, body, _ := strings.Cut(string(file.Data), "\n\n")
				if len(body) < 4<<10 { // long ones show nothing more, and cost
					bodies = append(bodies, strings.TrimSpace(body))
				}
			}
		}
	}
	require.NotEmpty(t, jobs)
	require.NotEmpty(t, bodies)
	return jobs, bodies
}

// mutate is a body with a few faults in it.
func mutate(random *rand.Rand, bodies []string) string {
	b := []byte(bodies[random.IntN(len(bodies))])
	for range random.IntN(4) {
		if len(b) == 0 {
			break
		}
		at := random.IntN(len(b))
		switch random.IntN(6) {
		case 0:
			b[at] = byte(random.IntN(256))
		case 1:
			b = append(b[:at], b[at+1:]...)
		case 2:
			b = b[:at]
		case 3: // a piece of another
			other := bodies[random.IntN(len(bodies))]
			b = append(b[:at:at], other[random.IntN(len(other)+1):]...)
		case 4:
			b = append(b[:at:at], append([]byte(`{"[]}<>&;:,"\`)[random.IntN(12):][:1], b[at:]...)...)
		default: // a piece of itself, again
			b = append(b, b[at:]...)
		}
	}
	return string(b[:min(len(b), 8<<10)])
}

var someCodes = []int{200, 200, 200, 200, 201, 202, 204, 303, 304, 400, 404, 410, 429, 500, 503}

// sound says what is wrong with a reading; it is requireSound for ten million of them.
func sound(p PollReading) error {
	r := p.Reading
	switch {
	case p.Outcome != Readable && p.Reason == "":
		return fmt.Errorf("%v without a reason", p.Outcome)
	case p.Outcome != Readable:
		return nil
	case r.Status != intent.InProgress && !r.Status.Terminal():
		return fmt.Errorf("status %q", r.Status)
	case r.Progress != nil && !(*r.Progress >= 0 && *r.Progress <= 100):
		return fmt.Errorf("progress %v", *r.Progress)
	case r.Result != nil && !json.Valid(r.Result):
		return fmt.Errorf("result %q", r.Result)
	case (r.Error != nil) != (r.Status.Terminal() && r.Status != intent.Completed):
		return fmt.Errorf("%s with the error %v", r.Status, r.Error)
	case p.RetryAfter != 0 && (p.RetryAfter < MinRetryAfter || p.RetryAfter > MaxRetryAfter):
		return fmt.Errorf("retry after %s", p.RetryAfter)
	}
	return nil
}

func TestRandomAnswersAreReadSoundlyByEverySpec(t *testing.T) {
	jobs, bodies := material(t)
	soak.Randomly(t, func(random *rand.Rand) error {
		job, body := jobs[random.IntN(len(jobs))], mutate(random, bodies)
		a := Answer{Code: someCodes[random.IntN(len(someCodes))], Header: http.Header{}, Body: []byte(body), Cut: random.IntN(32) == 0}
		if random.IntN(4) == 0 {
			a.Header.Set("Location", "/jobs/"+body[:min(len(body), 16)])
			a.Header.Set("Retry-After", body[:min(len(body), 8)])
		}
		if random.IntN(8) == 0 {
			read, err := job.ReadSubmit(Submitted{Host: "api.example.com", Path: "/jobs"}, a)
			over := read.Reading != nil && read.Reading.Status.Terminal() // such a job is never polled
			if err == nil && !over && !strings.HasPrefix(read.Delivery.StatusURL, "/") {
				return fmt.Errorf("status URL %q of %q", read.Delivery.StatusURL, body)
			}
			return nil
		}
		if err := sound(job.ReadPoll(testIntent(), a)); err != nil {
			return fmt.Errorf("%w: %d %q by %+v", err, a.Code, body, job.Route())
		}
		return nil
	})
}

func TestRandomXMLIsReadOrRefused(t *testing.T) {
	bodies := []string{
		`<job id="7"><phase>DONE</phase><step/><step>x</step></job>`,
		`<!DOCTYPE j [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;">]><j>&b;&amp;&#65;</j>`,
		`<a:b xmlns:a="x"><![CDATA[<c>]]><!-- d --><?e f?>text</a:b>`,
		strings.Repeat("<a>", 40) + strings.Repeat("</a>", 40),
	}
	soak.Randomly(t, func(random *rand.Rand) error {
		body := mutate(random, bodies)
		v, err := decodeXML([]byte(body))
		if err == nil && textIn(v) > 4*len(body) {
			return fmt.Errorf("%q gives text that was not written", body)
		}
		return nil
	})
}

// What the backend and the client name goes into URLs, headers and bodies.
func TestRandomWordsStayInTheirPlaceInRequests(t *testing.T) {
	job := mustCompile(t, Spec{
		Submit: Route{Path: "/queues/{params.queue}/jobs"}, JobID: "body.id", Params: map[string]string{"word": "body.word"},
		Status: &Endpoint{Target: "/queues/{params.queue}/{job_id}?w={params.word}", Header: http.Header{"X-Job": {"a {job_id} {params.word}"}},
			Body: `{"id":"{job_id}","word":"{params.word}"}`},
		Cancel: &Endpoint{Target: "/cancel/{job_id}/now", Header: http.Header{"Content-Type": {formType}}, Body: "id={job_id}&word={params.word}&n=1"},
	})
	var sent atomic.Int64
	soak.Randomly(t, func(random *rand.Rand) error {
		id, word, queue := soak.Hostile(random), soak.Hostile(random), soak.Hostile(random)
		path := "/queues/" + url.PathEscape(queue) + "/jobs"
		params, ok := job.MatchSubmit(http.MethodPost, path)
		if !ok {
			return nil
		}
		body, _ := json.Marshal(map[string]string{"id": id, "word": word})
		read, err := job.ReadSubmit(Submitted{Params: params, Host: "api.example.com", Scheme: "https", Path: path}, Answer{Code: 202, Body: body})
		if err != nil {
			return nil
		}
		in := &intent.Intent{Delivery: read.Delivery}
		id, word = in.JobID, in.Params["word"]
		poll, err := job.PollRequest(in)
		if err != nil {
			return nil
		}
		if err := inPlace(poll, "/queues/"+url.PathEscape(queue)+"/"+url.PathEscape(id)); err != nil {
			return err
		}
		sent.Add(1)
		var said struct{ ID, Word string }
		if err := json.Unmarshal(poll.Body, &said); err != nil || said.ID != id || said.Word != word {
			return fmt.Errorf("%q of %q and %q: %w", poll.Body, id, word, err)
		}
		cancel, ok, err := job.CancelRequest(in)
		if err != nil || !ok {
			return fmt.Errorf("polled as %+v, and not canceled: %w", poll, err)
		}
		form, err := url.ParseQuery(string(cancel.Body))
		if err != nil || len(form) != 3 || form.Get("id") != id || form.Get("word") != word {
			return fmt.Errorf("%q of %q and %q: %w", cancel.Body, id, word, err)
		}
		return inPlace(cancel, "/cancel/"+url.PathEscape(id)+"/now")
	})
	require.NotZero(t, sent.Load())
	t.Logf("%d made requests, the others were refused", sent.Load())
}

// inPlace says what is wrong with the head of a request.
func inPlace(r Request, path string) error {
	got, query, _ := strings.Cut(r.URL, "?")
	u, err := url.ParseRequestURI(r.URL)
	switch {
	case err != nil || u.Host != "" || u.User != nil || got != path || climbs(u.Path):
		return fmt.Errorf("%q is not at %q: %w", r.URL, path, err)
	case strings.ContainsAny(query, "&#") || strings.ContainsFunc(r.URL, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		return fmt.Errorf("%q", r.URL)
	}
	for name, values := range r.Header {
		if strings.ContainsFunc(strings.Join(values, ""), isControl) {
			return fmt.Errorf("%s: %q", name, values)
		}
	}
	return nil
}
