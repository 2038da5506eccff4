package adapter

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// randomly runs once over and over, on both of two processors, with a seed that is
// printed: INTENTS_SEED repeats a run, INTENTS_EXECS says how often.
func randomly(t *testing.T, once func(random *rand.Rand) error) {
	begun := time.Now()
	seed := soak.Seed(t)
	execs := soak.Number(t, "INTENTS_EXECS", 20_000)
	const workers = 2
	t.Logf("%d executions", execs)
	var running sync.WaitGroup
	for worker := range uint64(workers) {
		running.Go(func() {
			random := rand.New(rand.NewPCG(seed, worker))
			for n := range execs / workers {
				if err := once(random); err != nil {
					t.Errorf("execution %d of worker %d: %v", n, worker, err)
					return
				}
			}
		})
	}
	running.Wait()
	t.Logf("%d executions in %s", execs, time.Since(begun).Round(time.Millisecond))
}

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
	randomly(t, func(random *rand.Rand) error {
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
	randomly(t, func(random *rand.Rand) error {
		body := mutate(random, bodies)
		v, err := decodeXML([]byte(body))
		if err == nil && textIn(v) > 4*len(body) {
			return fmt.Errorf("%q gives text that was not written", body)
		}
		return nil
	})
}
