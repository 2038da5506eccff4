package engine_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// holds gives the engine n intents whose jobs run, as after a restart.
func (et *tester) holds(n int) (ids []intent.ID, jobs []string) {
	et.t.Helper()
	for i := range n {
		job := fmt.Sprintf("held-%d", i)
		et.backend.Says(job, "running", 10)
		ids, jobs = append(ids, et.stores(et.job, "/reports/status/", job)), append(jobs, job)
	}
	et.restart()
	return ids, jobs
}

// stores puts an intent into the store whose job the backend has.
func (et *tester) stores(job *engine.Job, status, jobID string) intent.ID {
	et.t.Helper()
	now := time.Now()
	in := intent.Intent{ID: intent.NewID(now, 0), Origin: intent.Origin{Scope: job.Scope, Job: job.Name,
		Created: now, Deadline: now.Add(job.Deadline), Host: "example.com", Scheme: "https"}}
	in, events := in.Begin(now)
	in, more := in.Deliver(intent.Delivery{JobID: jobID, StatusURL: status + jobID}, now)
	_, err := et.store.Create(et.t.Context(), in, append(events, more...))
	require.NoError(et.t, err)
	return in.ID
}

func (et *tester) finishes(jobs []string) {
	for _, job := range jobs {
		et.backend.Finishes(job)
	}
}

// ended counts the intents that have.
func (et *tester) ended(ids []intent.ID) (n int) {
	for _, id := range ids {
		if et.get(id).Status.Terminal() {
			n++
		}
	}
	return n
}

func (et *tester) isDown(id intent.ID) bool {
	polled, _ := et.engine.Polling(id)
	return !polled.DownSince.IsZero()
}

// pollsSince counts the polls that began after a moment, and in the second with the
// most of them.
func (et *tester) pollsSince(since time.Time) (all, most int) {
	perSecond := make(map[time.Duration]int)
	for _, a := range et.polls() {
		if a.At.After(since) {
			all++
			s := a.At.Sub(since).Truncate(time.Second)
			perSecond[s]++
			most = max(most, perSecond[s])
		}
	}
	return all, most
}

func TestADeadBackendIsProbedAndNotHammered(t *testing.T) {
	for name, c := range map[string]struct {
		fault   legacytest.Fault
		intents int
	}{
		"reset":   {legacytest.Reset, 10_000},
		"hanging": {legacytest.Hang, 1000},
		"502":     {legacytest.Code(502, ""), 1000},
		"429":     {legacytest.Code(429, ""), 1000},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, et *tester) {
				et.backend.Meets(legacytest.Polls, c.fault, legacytest.Always)
				ids, _ := et.holds(c.intents)
				et.advance(20 * time.Second)
				until, _ := et.pollsSince(bubbleStart)
				require.LessOrEqual(t, until, 320, "2 s at 100 a second, and those under way")
				require.True(t, et.isDown(ids[c.intents-1]), "also for one that was never polled")
				down := time.Now()
				et.advance(time.Hour)
				all, most := et.pollsSince(down)
				require.LessOrEqual(t, all, 140, "an hour at 30 s, and the growth before")
				require.Greater(t, all, 60)
				require.Equal(t, 1, most)
				require.Len(t, et.log.with("the backend does not answer"), 1)
				require.Zero(t, et.ended(ids))
			})
		})
	}
}

func TestABackendThatComesBackIsReleasedSlowlyAndWithinItsLimits(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		ids, jobs := et.holds(10_000)
		et.advance(time.Hour)
		et.finishes(jobs)
		et.backend.Meets(legacytest.Polls, legacytest.Late(time.Second), legacytest.Always)
		back := time.Now()
		var rounds []int
		for et.isDown(ids[0]) {
			et.advance(100 * time.Millisecond)
		}
		up := time.Now()
		require.Less(t, up.Sub(back), 40*time.Second)
		for range 8 { // an answer takes a second
			before := len(et.polls())
			et.advance(time.Second)
			rounds = append(rounds, len(et.polls())-before)
		}
		require.LessOrEqual(t, rounds[0], 4, "%v", rounds)
		for i := 1; i < len(rounds); i++ {
			require.LessOrEqual(t, rounds[i], min(2*rounds[i-1]+2, 110), "%v", rounds)
		}
		require.GreaterOrEqual(t, rounds[7], 60, "all places are used in the end: %v", rounds)
		et.advance(4 * time.Minute)
		require.Equal(t, len(ids), et.ended(ids))
		_, most := et.pollsSince(up)
		require.LessOrEqual(t, most, 110, "the rate, and a tenth of a second's burst")
		require.Len(t, et.log.with("answers again"), 1)
	})
}

func TestGiveUpStandsWhileTheBackendIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, legacytest.HTML, legacytest.Always)
		ids, jobs := et.holds(200)
		et.advance(5 * time.Minute)
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		et.advance(30 * time.Minute) // most of them are not asked about once
		require.True(t, et.isDown(ids[0]))
		et.backend.Meets(legacytest.Polls, legacytest.HTML, legacytest.Always)
		et.advance(4 * time.Minute)
		require.False(t, et.isDown(ids[0]))
		require.Zero(t, et.ended(ids), "9 minutes of 10")
		et.finishes(jobs)
		et.backend.Recovers()
		et.advance(time.Minute)
		require.Equal(t, len(ids), et.ended(ids))
		for _, id := range ids {
			require.Equal(t, intent.Completed, et.get(id).Status)
		}
	})
}

func TestDeadlinesPassWhileTheBackendIsDown(t *testing.T) {
	for name, cancel := range map[string]bool{"ends": false, "cancels": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, et *tester) {
				et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
				et.backend.Meets(legacytest.Cancels, legacytest.Reset, legacytest.Always)
				ids, _ := et.holds(1000)
				et.advance(time.Hour)
				require.True(t, et.isDown(ids[0]))
				et.advance(time.Hour + 20*time.Second) // 1000 last polls, at 100 a second
				for _, id := range ids {
					require.Equal(t, intent.TimedOut, et.get(id).Status)
				}
			}, func(j *engine.Job, _ *adapter.Spec) { j.Deadline, j.CancelAtDeadline = 2*time.Hour, cancel })
		})
	}
}

func TestAFlappingBackendLosesNothingAndGetsLittleWhileItIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		ids, jobs := et.holds(2000)
		whileDown := 0
		for range 20 {
			et.backend.Meets(legacytest.Polls, legacytest.Code(503, ""), legacytest.Always)
			before := len(et.polls())
			et.advance(30 * time.Second)
			whileDown += len(et.polls()) - before
			et.backend.Recovers()
			et.advance(5 * time.Second)
		}
		require.Less(t, whileDown, 20*330, "not 3000 in each 30 seconds")
		et.finishes(jobs)
		et.advance(2 * time.Minute)
		require.Equal(t, len(ids), et.ended(ids))
	})
}

func TestJobsThatAlwaysFailTakeLittleFromThoseThatDoNot(t *testing.T) {
	for name, fault := range map[string]legacytest.Fault{"at once": legacytest.Code(500, ""), "after the timeout": legacytest.Hang} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, et *tester) {
				var ids []intent.ID
				var failed int
				for i := range 400 {
					job := fmt.Sprintf("held-%d", i)
					if i%4 != 0 {
						job += "-bad"
					}
					et.backend.Says(job, "running", 10)
					ids = append(ids, et.stores(et.job, "/reports/status/", job))
				}
				et.backend.Meets(legacytest.Polls, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
					if strings.HasSuffix(r.URL.Path, "-bad") {
						fault(w, r, well)
						return
					}
					well(w, r)
				}, legacytest.Always)
				et.watchAll(ids, time.Hour)
				et.restart()
				et.watchAll(ids, time.Hour)
				et.advance(5 * time.Minute) // every one has been asked
				before := time.Now()
				et.advance(3 * time.Minute)
				require.False(t, et.isDown(ids[0]), "a quarter of them is answered")
				healthy := 0
				for _, a := range et.polls() {
					switch {
					case !a.At.After(before):
					case strings.HasSuffix(a.Path, "-bad"):
						failed++
					default:
						healthy++
					}
				}
				require.InDelta(t, 100*90, healthy, 200, "100 jobs, every 2 seconds")
				require.LessOrEqual(t, failed, 180*(10+10)+10, "a tenth of the rate and a fifth of the answers")
				require.Greater(t, failed, 180, "they are asked all the same")
			}, func(j *engine.Job, _ *adapter.Spec) { j.Pace.MaxInterval = 2 * time.Second })
		})
	}
}

func TestOneJobThatAlwaysFailsHoldsUpNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			if strings.HasSuffix(r.URL.Path, "/held-0") {
				legacytest.Code(500, "")(w, r, well)
				return
			}
			well(w, r)
		}, legacytest.Always)
		ids, jobs := et.holds(2)
		et.advance(time.Hour)
		require.False(t, et.isDown(ids[1]))
		et.finishes(jobs[1:])
		et.advance(time.Minute)
		require.Equal(t, intent.Completed, et.get(ids[1]).Status)
		polled, _ := et.engine.Polling(ids[0])
		require.Greater(t, polled.Failures, 100)
	})
}

func TestSubmitsPassWhileTheBackendIsDownAndShowThatItIsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		ids, jobs := et.holds(100)
		et.advance(time.Hour)
		probes := len(et.polls())
		for range 100 {
			et.submit()
			et.advance(10 * time.Millisecond)
		}
		require.LessOrEqual(t, len(et.polls()), probes+1, "a hundred submits are no reason for a hundred probes")
		require.True(t, et.isDown(ids[0]))
		et.advance(time.Minute)
		et.backend.Recovers()
		et.finishes(jobs)
		et.submit()
		et.advance(2500 * time.Millisecond)
		require.False(t, et.isDown(ids[0]), "one interval after the last probe, and not 30 s")
		et.advance(30 * time.Second)
		require.Equal(t, len(ids), et.ended(ids))
	})
}

func TestAStatusThatAClientWasGivenReleasesThePolls(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		ids, jobs := et.holds(100)
		et.advance(time.Hour)
		et.backend.Recovers()
		et.finishes(jobs)
		in := et.get(ids[7])
		et.engine.Hear(t.Context(), &in, adapter.Answer{
			Code: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"job_id":"held-7","status":"running"}`),
		}, time.Now())
		synctest.Wait()
		require.False(t, et.isDown(ids[0]))
		et.advance(5 * time.Second)
		require.Greater(t, et.ended(ids), 90)
	})
}

func TestCancelsAreSentWhileTheBackendIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		ids, _ := et.holds(100)
		et.advance(time.Hour)
		require.True(t, et.isDown(ids[0]))
		in, err := et.engine.Cancel(t.Context(), ids[50], engine.Cancellation{})
		require.NoError(t, err)
		require.Equal(t, intent.Canceled, in.Status)
	})
}

func TestAReloadKeepsWhatIsKnownOfABackendThatIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		ids, _ := et.holds(1000)
		et.advance(time.Hour)
		before := time.Now()
		for range 20 {
			et.reload()
			et.advance(time.Second)
		}
		all, _ := et.pollsSince(before)
		require.LessOrEqual(t, all, 11, "one every interval at the most")
		require.Positive(t, all, "whoever reloads may have repaired something")
		require.True(t, et.isDown(ids[0]))
	})
}

func TestJobsOfABackendThatIsDownDoNotWaitForItWhenTheyGetAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		ids, jobs := et.holds(100)
		et.advance(time.Hour)
		other := legacytest.New()
		for _, job := range jobs {
			other.Finishes(job)
		}
		et.reload(func(j *engine.Job, _ *adapter.Spec) {
			j.Backend = &engine.Backend{Name: "other", Transport: other, InFlight: 64, Rate: 100}
		})
		et.advance(2 * time.Second)
		require.Greater(t, et.ended(ids), 90, "all that waited")
		et.advance(time.Minute)
		require.Equal(t, len(ids), et.ended(ids))
	})
}

func TestRetryAfterOfABackendThatIsDownCountsForAllItsJobs(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, legacytest.Code(503, "120"), legacytest.Always)
		ids, _ := et.holds(5000)
		et.advance(10 * time.Second)
		require.True(t, et.isDown(ids[0]))
		down := time.Now()
		et.advance(time.Hour)
		all, _ := et.pollsSince(down)
		require.LessOrEqual(t, all, 30)
		et.backend.Recovers()
		et.reload()
		et.submit()
		et.advance(time.Second)
		after, _ := et.pollsSince(down)
		require.LessOrEqual(t, after, all+1, "nobody's success makes us break the backend's word")
	})
}

func TestAHeldIntentTellsThatAndWhenTheBackendIsAskedNext(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		ids, _ := et.holds(1000)
		et.advance(time.Hour)
		for _, id := range ids {
			polled, ok := et.engine.Polling(id)
			require.True(t, ok)
			require.WithinRange(t, polled.DownSince.Round(0), bubbleStart.Add(2*time.Second), bubbleStart.Add(6*time.Second))
			require.WithinRange(t, polled.Next.Round(0), time.Now().Round(0), time.Now().Round(0).Add(36*time.Second))
			require.Equal(t, polled.Failures > 0, !polled.Failing.IsZero())
		}
	})
}

func TestBatchesOfADeadBackendAreProbesToo(t *testing.T) {
	inBatches(t, func(t *testing.T, et *tester, b *listing) {
		ids, _ := et.submitMany(400)
		et.watchAll(ids, 2*time.Hour)
		b.meet(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		et.advance(time.Minute)
		before := len(b.batches())
		et.advance(time.Hour)
		require.LessOrEqual(t, len(b.batches())-before, 125)
		require.True(t, et.isDown(ids[0]))
		require.Empty(t, et.polls())
	})
}

// answering is a transport for APIs with more than one job.
type answering func(w http.ResponseWriter, r *http.Request)

func (a answering) Send(w http.ResponseWriter, r *http.Request) error {
	a(w, r)
	return nil
}

func TestAJobAPIThatIsSickInOnePlaceIsPolledInTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		var mu sync.Mutex
		asked := make(map[string]int)
		backend := &engine.Backend{Name: "two", InFlight: 64, Rate: 100, Transport: answering(func(w http.ResponseWriter, r *http.Request) {
			_, place, _ := strings.Cut(r.URL.Path, "/")
			place, _, _ = strings.Cut(place, "/")
			mu.Lock()
			asked[place]++
			mu.Unlock()
			if place == "sick" {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			_, _ = w.Write([]byte(`{"status":"running"}`))
		})}
		var jobs []*engine.Job
		for _, place := range []string{"sick", "well"} {
			compiled, err := adapter.Compile(adapter.Spec{
				Submit: adapter.Route{Method: "POST", Path: "/" + place},
				Status: &adapter.Endpoint{Target: "/" + place + "/{job_id}"},
			}, adapter.Options{})
			require.NoError(t, err)
			job := *et.job
			job.Name, job.Adapter, job.Backend = place, compiled, backend
			jobs = append(jobs, &job)
		}
		et.use(jobs...)
		var ids []intent.ID
		for i := range 400 {
			ids = append(ids, et.stores(jobs[i%2], "/"+jobs[i%2].Name+"/", fmt.Sprint(i)))
		}
		et.job = jobs[0]
		et.restart()
		et.use(jobs...)
		et.advance(time.Hour)
		require.True(t, et.isDown(ids[0]))
		require.False(t, et.isDown(ids[1]))
		require.Less(t, asked["sick"], 600)
		require.Greater(t, asked["well"], 200*100, "every 30 s, with jitter")
	})
}

func TestQueuedSubmitsWaitForABackendThatIsDownAndPollsFindOutWhetherItIsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.backend.Meets(legacytest.Polls, legacytest.Reset, legacytest.Always)
		ids, _ := et.holds(200)
		et.advance(10 * time.Minute)
		require.True(t, et.isDown(ids[0]))
		et.backend.Meets(legacytest.Submits, legacytest.Reset, legacytest.Always) // which would be uncertain, and the end
		var queued []intent.ID
		for range 50 {
			id, _ := et.submit()
			queued = append(queued, id)
		}
		et.advance(5 * time.Minute)
		require.Empty(t, et.backend.AskedFor("POST", "/reports/generate"))
		require.True(t, et.isDown(queued[0]))
		et.backend.Recovers()
		et.advance(time.Minute)
		require.Len(t, et.backend.AskedFor("POST", "/reports/generate"), 50)
		for _, id := range queued {
			require.Equal(t, intent.InProgress, et.get(id).Status)
		}
	}, queued())
}

func TestQueuedSubmitsProbeABackendThatNobodyPolls(t *testing.T) {
	way := new(road)
	inBubble(t, func(t *testing.T, et *tester) {
		var ids []intent.ID
		for range 500 {
			id, _ := et.submit()
			ids = append(ids, id)
		}
		et.advance(10 * time.Second)
		require.LessOrEqual(t, way.tries.Load(), int64(320))
		require.True(t, et.isDown(ids[499]))
		before := way.tries.Load()
		et.advance(4 * time.Minute)
		require.LessOrEqual(t, way.tries.Load()-before, int64(20))
		way.closed.Store(false)
		et.advance(time.Minute)
		require.Len(t, et.backend.AskedFor("POST", "/reports/generate"), 500)
	}, queued(), closed(way))
}
