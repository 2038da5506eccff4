package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

const benchJobs = 100

// A quiet backend says the same of every job whenever it is asked, and counts.
type quiet struct{ asked int }

func (b *quiet) Send(w http.ResponseWriter, r *http.Request) error {
	b.asked++
	const status = `{"id":"%s","status":"running","percent":40,"step":"reading rows"}`
	var body bytes.Buffer
	if ids, ok := strings.CutPrefix(r.URL.RawQuery, "ids="); ok {
		for id := range strings.SplitSeq(ids, ",") {
			body.WriteString(map[bool]string{true: "[", false: ","}[body.Len() == 0])
			fmt.Fprintf(&body, status, id)
		}
		body.WriteString("]")
	} else {
		fmt.Fprintf(&body, status, strings.TrimPrefix(r.URL.Path, "/jobs/"))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, err := io.Copy(w, &body)
	return err
}

// BenchmarkPoll polls a hundred jobs once, one by one and in one request; requests is
// what the backend is asked for it. There is no socket in it, which a request costs
// besides.
func BenchmarkPoll(b *testing.B) {
	for _, way := range []string{"one-by-one", "together"} {
		b.Run(way, func(b *testing.B) {
			backend := new(quiet)
			e, held := benchEngine(b, backend)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				if way == "together" {
					e.pollTogetherOnce(context.Background(), held, e.now())
					continue
				}
				for _, h := range held {
					e.pollOnce(context.Background(), h, e.now())
				}
			}
			b.ReportMetric(float64(backend.asked)/float64(n), "requests/op")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*benchJobs), "ns/job")
		})
	}
}

// BenchmarkGather finds a hundred that can be asked together among many that cannot
// yet.
func BenchmarkGather(b *testing.B) {
	for _, others := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			e, held := benchEngine(b, new(quiet))
			crowd := held[0].crowd
			for range others {
				h := &late{places: [3]int32{-1, -1, -1}, crowd: crowd, polled: never, deadline: never}
				crowd.ready.set(h, never-1)
			}
			job := e.settings.Load().Jobs[*held[0].name]
			for b.Loop() {
				all, _ := e.gather(held[0], job, e.now().add(time.Minute))
				if len(all) != benchJobs {
					b.Fatal(len(all))
				}
				for _, h := range all {
					h.busy = false
					e.plan(h, e.now())
				}
				e.start(held[0])
			}
		})
	}
}

// late is one of a crowd that may not be asked yet.
type late = held

func benchEngine(b *testing.B, t Transport) (*Engine, []*held) {
	compiled, err := adapter.Compile(adapter.Spec{
		Submit: adapter.Route{Path: "/jobs"},
		Status: &adapter.Endpoint{Target: "/jobs/{job_id}"},
		Poll:   &adapter.Poll{Batch: &adapter.Batch{Target: "/jobs?ids={job_ids}"}},
	}, adapter.Options{})
	require.NoError(b, err)
	name := JobName{Scope: "default", Name: "report"}
	e := New(memstore.New())
	e.Use(&Generation{
		Jobs: map[JobName]*Job{name: {JobName: name, Adapter: compiled, Pace: DefaultPace, Deadline: time.Hour,
			Backend: &Backend{Name: "default", Transport: t, InFlight: 1000, Rate: 1e6}}},
		Retention: DefaultRetention,
		Logger:    slog.New(slog.DiscardHandler),
	})
	var all []*held
	for i := range benchJobs {
		now := time.Now()
		in := intent.Intent{ID: intent.NewID(now, 0), Origin: intent.Origin{Scope: name.Scope, Job: name.Name, Created: now,
			Deadline: now.Add(time.Hour), Host: "api.example.com", Scheme: "https"}}
		id := fmt.Sprintf("job-%d", i)
		in, events := in.Begin(now)
		in, more := in.Deliver(intent.Delivery{JobID: id, StatusURL: "/jobs/" + id}, now)
		events = append(events, more...)
		in, more = in.Apply(intent.Reading{Status: intent.InProgress, Progress: new(float64(40)), Message: "reading rows"}, now)
		h, err := e.store.Create(b.Context(), in, append(events, more...))
		require.NoError(b, err)
		e.hold(h.Lease, &in, 0)
		all = append(all, e.holds[in.ID])
	}
	return e, all
}
