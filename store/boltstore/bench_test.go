package boltstore

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// BenchmarkLifecycle is one intent from its creation to its end: four writes that
// each wait for the disk, and five events.
func BenchmarkLifecycle(b *testing.B) {
	for _, clients := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := openBench(b, b.TempDir())
			b.SetParallelism(max(clients/2, 1)) // times GOMAXPROCS, which is 2 where it matters
			if clients == 1 {
				for b.Loop() {
					live(b, s)
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					live(b, s)
				}
			})
		})
	}
}

// BenchmarkCreate is what a submit writes, for as many at once as the bench has
// clients. What counts are the pages: a commit takes about as long as their number says.
func BenchmarkCreate(b *testing.B) {
	s := openBench(b, b.TempDir())
	b.SetParallelism(32)
	before := s.db.Stats()
	first := lastTransaction(b, s)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			create(b, s, time.Now())
		}
	})
	after := s.db.Stats()
	written := after.Sub(&before)
	b.ReportMetric(float64(written.TxStats.GetPageCount())/float64(b.N), "pages/op")
	b.ReportMetric(float64(b.N)/float64(lastTransaction(b, s)-first), "ops/commit")
}

// BenchmarkAppend stores one event of a running intent.
func BenchmarkAppend(b *testing.B) {
	s := openBench(b, b.TempDir())
	held := create(b, s, time.Now())
	for b.Loop() {
		in := held.Intent
		in.Seq++ // beyond what an intent may have; the store does not count
		in.Updated = in.Updated.Add(time.Second)
		event := intent.Event{IntentID: in.ID, Seq: in.Seq, Type: intent.TypeInProgress, Status: in.Status, At: in.Updated}
		require.NoError(b, s.Append(b.Context(), store.Change{
			Intent: in, Epoch: held.Epoch, After: held.Intent.Seq, Events: []intent.Event{event},
		}))
		held.Intent = in
	}
}

// BenchmarkRead reads an intent among 10,000, alone and with all its events, and
// what a stream reads that is up to date.
func BenchmarkRead(b *testing.B) {
	s := openBench(b, b.TempDir())
	all := populate(b, s, 10_000)
	b.Run("get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_, err := s.Get(b.Context(), all[i%len(all)])
			require.NoError(b, err)
		}
	})
	b.Run("get again", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_, err := s.Get(b.Context(), all[i%100])
			require.NoError(b, err)
		}
	})
	b.Run("events", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_, _, err := s.Events(b.Context(), all[i%len(all)], 0)
			require.NoError(b, err)
		}
	})
	b.Run("no events", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_, _, err := s.Events(b.Context(), all[i%len(all)], 4)
			require.NoError(b, err)
		}
	})
}

// BenchmarkList reads one page of 100 out of 100,000 running intents: all, and the
// stuck ones, which are the oldest.
func BenchmarkList(b *testing.B) {
	s := openBench(b, b.TempDir())
	all := populate(b, s, 100_000)
	middle, err := s.Get(b.Context(), all[len(all)/2])
	require.NoError(b, err)
	oldest, err := s.Get(b.Context(), all[0])
	require.NoError(b, err)
	for name, filter := range map[string]store.Filter{
		"youngest":        {Limit: 100},
		"from the middle": {Limit: 100, Before: middle.ID},
		"by status":       {Limit: 100, Status: intent.InProgress},
		"older than":      {Limit: 100, Status: intent.InProgress, Made: middle.Created},
		"standing still":  {Limit: 100, Moved: middle.Created, Made: middle.Created},
		"with some unknown word, of which there is none": {Limit: 100, Unknown: store.Any},
		"with one unknown word, of which there is none":  {Limit: 100, Unknown: "archived"},
		"of a job that there is none of":                 {Limit: 100, Job: "export"},
		"of a status that none has":                      {Limit: 100, Status: intent.Delivered},
		"standing still, which none does":                {Limit: 100, Moved: oldest.Created},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, err := s.List(b.Context(), filter)
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkOpenAndClaim opens a store with 100,000 running intents and claims all
// of them: after a clean end, and as after a crash.
func BenchmarkOpenAndClaim(b *testing.B) {
	const running = 100_000
	dir := b.TempDir()
	s := openBench(b, dir)
	populate(b, s, running)
	require.NoError(b, s.Close())
	for _, end := range []string{"clean", "crash"} {
		b.Run(end, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				if end == "crash" {
					dirty(b, dir)
				}
				b.StartTimer()
				s, err := Open(pathIn(dir), Options{})
				require.NoError(b, err)
				claimed := 0
				for {
					held, err := s.Claim(b.Context(), 1000)
					require.NoError(b, err)
					claimed += len(held)
					if len(held) < 1000 {
						break
					}
				}
				require.Equal(b, running, claimed)
				b.StopTimer()
				require.NoError(b, s.Close())
				b.StartTimer()
			}
		})
	}
}

func openBench(b *testing.B, dir string) *Store {
	s, err := Open(pathIn(dir), Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

func create(b *testing.B, s *Store, now time.Time) store.Held {
	in := intent.Intent{
		ID: intent.NewID(now, store.ShardAt("", now)),
		Origin: intent.Origin{
			Scope: "default", Job: "report", Created: now, Deadline: now.Add(24 * time.Hour),
			Host: "api.example.com", Scheme: "https", Client: "192.0.2.7",
		},
		Polling: intent.Polling{Due: now.Add(time.Second)},
	}
	in, events := in.Begin(now)
	job := in.ID.String()
	in, named := in.Deliver(intent.Delivery{
		JobID: job, Params: map[string]string{"job_id": job}, StatusURL: "/reports/status/" + job,
	}, now)
	held, err := s.Create(b.Context(), in, append(events, named...))
	require.NoError(b, err)
	return held
}

func report(b *testing.B, s *Store, held store.Held, r intent.Reading) store.Held {
	in, events := held.Intent.Apply(r, held.Intent.Updated.Add(2*time.Second))
	require.NoError(b, s.Append(b.Context(), store.Change{
		Intent: in, Epoch: held.Epoch, After: held.Intent.Seq, Events: events,
	}))
	held.Intent = in
	return held
}

func live(b *testing.B, s *Store) {
	held := create(b, s, time.Now())
	held = report(b, s, held, intent.Reading{Status: intent.InProgress, Progress: new(float64(10)), Message: "reading rows"})
	held = report(b, s, held, intent.Reading{Status: intent.InProgress, Progress: new(float64(60)), Message: "writing pages"})
	report(b, s, held, intent.Reading{Status: intent.Completed, Result: json.RawMessage(`{"url":"https://files.example.com/r/1.pdf"}`)})
}

// populate makes n running intents with four events each.
func populate(b *testing.B, s *Store, n int) []intent.ID {
	const writers = 256
	ids := make([]intent.ID, n)
	var wg sync.WaitGroup
	now := time.Now()
	for w := range writers {
		wg.Go(func() {
			for i := w; i < n; i += writers {
				held := create(b, s, now.Add(time.Duration(i/100)*time.Second))
				ids[i] = held.ID
				report(b, s, held, intent.Reading{Status: intent.InProgress, Progress: new(float64(10)), Message: "reading rows"})
			}
		})
	}
	wg.Wait()
	return ids
}
