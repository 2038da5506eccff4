package engine_test

import (
	"fmt"
	"net/http"
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

// A patient backend answers a status request with ?timeout=30 when something has
// changed, after half a minute at the latest.
type patient struct {
	*legacytest.Backend

	mu      sync.Mutex
	changed chan struct{}
	waiting int
	most    int  // how many have waited at the same time
	code    int  // what it answers to the query instead; 0 for nothing
	hasty   bool // it ignores the query
}

func (b *patient) Send(w http.ResponseWriter, r *http.Request) error {
	b.mu.Lock()
	changed, code := b.changed, b.code
	waits := r.URL.RawQuery == "timeout=30" && !b.hasty
	if waits && code == 0 {
		b.waiting++
		b.most = max(b.most, b.waiting)
		defer b.count(-1)
	}
	b.mu.Unlock()
	switch {
	case waits && code != 0:
		w.WriteHeader(code)
		fmt.Fprint(w, `{"message":"unknown parameter"}`)
		return nil
	case waits:
		select {
		case <-changed:
		case <-time.After(30 * time.Second):
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
	return b.Backend.Send(w, r)
}

func (b *patient) count(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting += n
}

func (b *patient) waitingNow() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting
}

// refuse has the query answered with a code from now on; 0 for waiting again.
func (b *patient) refuse(code int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.code = code
}

// change answers all that wait.
func (b *patient) change() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
}

func inWaits(t *testing.T, test func(t *testing.T, et *tester, b *patient), configure ...func(*engine.Job, *adapter.Spec)) {
	t.Helper()
	inBubble(t, func(t *testing.T, et *tester) {
		b := &patient{Backend: et.backend, changed: make(chan struct{})}
		et.reload(append([]func(*engine.Job, *adapter.Spec){func(j *engine.Job, s *adapter.Spec) {
			j.Backend = &engine.Backend{Name: "default", Transport: b, InFlight: 8, Rate: 100}
			s.Poll = &adapter.Poll{Wait: "?timeout=30"}
		}}, configure...)...)
		test(t, et, b)
	})
}

func TestABackendThatWaitsIsAskedBackToBack(t *testing.T) {
	inWaits(t, func(t *testing.T, et *tester, b *patient) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.advance(5 * time.Minute)
		require.Len(t, et.polls(), 9, "one request each half minute")
		require.Equal(t, 1, b.waitingNow())
		et.advance(17 * time.Second)
		et.backend.Finishes(job)
		b.change()
		synctest.Wait()
		require.Equal(t, intent.Completed, et.get(id).Status, "told the moment it is so")
		et.advance(time.Minute)
		require.Zero(t, b.waitingNow())
	})
}

func TestQuickAnswersAreFollowedByThePaceOfTheInterval(t *testing.T) {
	inWaits(t, func(t *testing.T, et *tester, b *patient) {
		b.hasty = true
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.advance(9 * time.Second)
		require.Equal(t, []time.Duration{500 * time.Millisecond, 2500 * time.Millisecond, 4500 * time.Millisecond,
			6500 * time.Millisecond, 8500 * time.Millisecond}, et.pollsAt(job))
	})
}

func TestAWaitThatIsRefusedIsDoneWithout(t *testing.T) {
	for _, code := range []int{400, 404, 501, 504} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			inWaits(t, func(t *testing.T, et *tester, b *patient) {
				b.refuse(code)
				id, job := et.submit()
				et.watch(id, time.Hour)
				et.advance(600 * time.Millisecond)
				polled, _ := et.engine.Polling(id)
				require.Zero(t, polled.Failures)
				require.Equal(t, []time.Duration{500 * time.Millisecond}, et.pollsAt(job), "the plain poll follows at once")
				et.advance(8 * time.Second)
				require.Len(t, et.pollsAt(job), 5)
				require.Len(t, et.log.with("does not wait"), 1)
				b.refuse(0)
				et.advance(11 * time.Minute)
				require.Equal(t, 1, b.waitingNow(), "and then it is tried again")
			})
		})
	}
}

func TestAJobThatIsGoneIsNotTakenForARefusalToWait(t *testing.T) {
	inWaits(t, func(t *testing.T, et *tester, b *patient) {
		id, job := et.submit()
		et.backend.Forgets(job)
		et.advance(time.Hour)
		require.Equal(t, intent.CodeJobLost, et.get(id).Error.Code)
		require.Empty(t, et.log.with("does not wait"))
	})
}

func TestABackendThatWaitsTooLongCountsAsOneThatRefuses(t *testing.T) {
	inWaits(t, func(t *testing.T, et *tester, _ *patient) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.backend.Meets(legacytest.Polls, legacytest.Hang, 1) // on top of the 30 s
		et.advance(39 * time.Second)
		et.backend.Finishes(job)
		et.advance(2 * time.Second) // 10 s of poll timeout after the 30 s
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}

func TestWaitingPollsLeaveRoomForOthersAndWatchedOnesGoFirst(t *testing.T) {
	inWaits(t, func(t *testing.T, et *tester, b *patient) {
		ids, jobs := et.submitMany(20)
		et.advance(3 * time.Second)
		require.Equal(t, 2, b.waitingNow(), "a quarter of 8 for those that nobody watches")
		et.watchAll(ids, time.Hour)
		et.advance(10 * time.Second)
		require.Equal(t, 4, b.waitingNow(), "half of 8")
		polls := make([]int, len(jobs))
		for i, job := range jobs {
			polls[i] = et.backend.Polls(job)
		}
		et.advance(10 * time.Second)
		quick := 0
		for i, job := range jobs {
			if et.backend.Polls(job) >= polls[i]+5 {
				quick++
			}
		}
		require.Equal(t, 16, quick, "the others are polled by the interval")
		require.Equal(t, 4, b.most)
	})
}

func TestDeadlineCutsAPollThatWaits(t *testing.T) {
	inWaits(t, func(t *testing.T, et *tester, b *patient) {
		id, _ := et.submit()
		et.watch(id, time.Hour)
		et.advance(40*time.Second + time.Millisecond)
		require.Equal(t, intent.TimedOut, et.get(id).Status)
		require.Zero(t, b.waitingNow())
		require.Empty(t, et.log.with("does not wait"))
	}, func(j *engine.Job, _ *adapter.Spec) { j.Deadline = 40 * time.Second })
}

func TestCancelAtTheDeadlineFollowsOneLastPollThatDoesNotWait(t *testing.T) {
	inWaits(t, func(t *testing.T, et *tester, b *patient) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.advance(40*time.Second + time.Millisecond)
		require.Equal(t, intent.TimedOut, et.get(id).Status)
		require.Len(t, et.backend.AskedFor("DELETE", "/reports/status/"+job), 1)
		require.Zero(t, b.waitingNow())
	}, func(j *engine.Job, _ *adapter.Spec) {
		j.Deadline = 40 * time.Second
		j.CancelAtDeadline = true
	})
}

func TestStopCutsAPollThatWaits(t *testing.T) {
	inWaits(t, func(t *testing.T, et *tester, b *patient) {
		id, _ := et.submit()
		et.watch(id, time.Hour)
		et.advance(time.Second)
		require.Equal(t, 1, b.waitingNow())
		begun := time.Now()
		et.engine.Stop()
		require.Equal(t, begun, time.Now())
		require.Equal(t, intent.InProgress, et.get(id).Status)
	})
}

func TestCancelCutsAPollThatWaits(t *testing.T) {
	inWaits(t, func(t *testing.T, et *tester, b *patient) {
		id, _ := et.submit()
		et.watch(id, time.Hour)
		et.advance(time.Second)
		begun := time.Now()
		in, err := et.engine.Cancel(t.Context(), id, engine.Cancellation{})
		require.NoError(t, err)
		require.Equal(t, intent.Canceled, in.Status)
		require.Equal(t, begun, time.Now())
		require.Zero(t, b.waitingNow())
	})
}

func TestAnOutageDuringAWaitIsNoRefusal(t *testing.T) {
	inWaits(t, func(t *testing.T, et *tester, b *patient) {
		id, job := et.submit()
		et.watch(id, time.Hour)
		et.advance(time.Second)
		et.backend.Meets(legacytest.Polls, legacytest.Reset, 3)
		b.change()
		et.advance(time.Minute)
		require.Empty(t, et.log.with("does not wait"))
		require.Equal(t, 1, b.waitingNow(), "it waits again as soon as it is answered")
		et.backend.Finishes(job)
		b.change()
		synctest.Wait()
		require.Equal(t, intent.Completed, et.get(id).Status)
	})
}
