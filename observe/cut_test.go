package observe

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/store"
)

func TestDrainCutsEveryStreamAndLetsNoneBegin(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		waiting := tt.observes(job.stream() + "?wait_seconds=60").opens()
		obs := tt.observes(job.stream()).opens()
		tt.hub.Drain(errors.New("the process is going away"))
		for _, o := range []*observer{waiting, obs} {
			o.wantSeqs(1, 3)
			o.wantSentAway()
		}

		w := tt.get(job.stream())
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		require.Equal(t, "draining", problemCode(t, w))
		require.Equal(t, http.StatusOK, tt.get(job.path()).Code, "what is no stream is still served")
	})
}

func TestAfterADrainThatIsTakenBackStreamsBeginAgainAndCanBeCutAgain(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.observes(job.stream()).opens()
		require.Equal(t, 1, tt.hub.ObserversOf(job.in.ID))
		tt.hub.Drain(errors.New("an operator takes this node out"))
		obs.wantSeqs(1, 3)
		obs.wantSentAway()
		require.True(t, tt.hub.Draining())
		require.Zero(t, tt.hub.ObserversOf(job.in.ID))

		tt.hub.Reopen()
		require.False(t, tt.hub.Draining())
		obs = tt.follows(job)
		tt.hub.Drain(errors.New("again"))
		obs.wantSentAway()
		tt.hub.Close()
		tt.hub.Reopen()
		require.True(t, tt.hub.Draining())
	})
}

func TestAStreamIsCutAtItsAge(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.follows(job, "?heartbeat=60")
		tt.passes(9*time.Minute - time.Millisecond)
		for range 8 {
			obs.wantHeartbeat()
		}
		obs.wantNothing()
		tt.passes(2 * time.Minute)
		for obs.conn.received.String()[0] == ':' {
			obs.wantHeartbeat()
		}
		obs.wantSentAway()
		tt.wantEnds(EndAge)
	})
}

func TestAReaderThatStopsHoldsUpNobodyAndIsCut(t *testing.T) {
	for proto, timeout := range map[string]error{
		"HTTP/1.1": fmt.Errorf("write tcp: %w", os.ErrDeadlineExceeded),
		"HTTP/2":   errors.New("http2: stream closed"),
	} {
		t.Run(proto, func(t *testing.T) {
			run(t, func(t *testing.T, tt *tester) {
				job := tt.begins()
				slow := tt.follows(job)
				slow.conn.wantNoDeadline(t)
				obs := tt.follows(job)

				slow.conn.stops(timeout)
				job.says("running")
				obs.wantSeqs(4, 4)
				tt.passes(2 * time.Second)
				job.says("still running")
				obs.wantSeqs(5, 5)
				slow.wantOpen()

				tt.passes(writeTimeout - 2*time.Second)
				slow.wantCut()
				tt.wantEnds(EndSlow)

				// It comes back for what it missed.
				again := tt.observes(job.stream(), "Last-Event-ID", slow.last.ID).opens()
				again.wantSeqs(4, 5)
			})
		})
	}
}

func TestAReaderThatGoesOnInTimeHasMissedNothing(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		slow := tt.follows(job)
		slow.conn.stops(os.ErrDeadlineExceeded)
		for i := range 6 {
			job.says(fmt.Sprintf("row %d", i))
			tt.passes(time.Second)
		}
		slow.wantOpen()
		slow.conn.goesOn()
		slow.wantSeqs(4, 9)
		slow.leave()
	})
}

func TestAReaderThatStoppedDoesNotHoldUpADrain(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		slow := tt.follows(job)
		slow.conn.stops(os.ErrDeadlineExceeded)
		job.says("running")
		slow.wantOpen()

		start := time.Now()
		tt.hub.Close()
		require.LessOrEqual(t, time.Since(start), time.Second)
		slow.wantCut()
	})
}

func TestAClientThatLeavesIsForgottenAtOnce(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.follows(job)
		require.Equal(t, 1, tt.hub.Observers())
		obs.leave()
		obs.wantCut()
		require.Zero(t, tt.hub.Observers())
		tt.wantEnds(EndGone)
	})
}

func TestStreamsOutliveTheStoreBeingAway(t *testing.T) {
	runByBells(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.follows(job, "?heartbeat=60")
		tt.store.set(func() { tt.store.err = store.ErrUnavailable })
		job.says("running")
		obs.wantNothing()
		w := tt.get(job.stream())
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))

		tt.store.set(func() { tt.store.err = nil })
		tt.passes(store.CheckInterval)
		obs.wantSeqs(4, 4)
		obs.leave()
	})
}

func TestAnIntentThatIsRemovedUnderAStreamCutsIt(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.follows(job, "?heartbeat=60")
		tt.store.set(func() { tt.store.err = store.ErrNotFound })
		tt.passes(store.CheckInterval)
		obs.wantSentAway()
		require.Equal(t, http.StatusNotFound, tt.get(job.stream()).Code)
	})
}

func TestAReloadLeavesStreamsAlone(t *testing.T) {
	run(t, func(t *testing.T, tt *tester) {
		job := tt.begins()
		obs := tt.follows(job)
		tt.configure(Config{Heartbeat: time.Second})
		job.says("running")
		obs.wantSeqs(4, 4)
		tt.passes(3 * time.Second)
		obs.wantNothing()
		obs.leave()
	})
}

func TestAStreamDoesNotKeepTheConfigItBeganUnder(t *testing.T) {
	tt := newTester(t, Config{})
	released := make(chan struct{})
	runtime.AddCleanup(tt.server, func(done chan struct{}) { close(done) }, released)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tt.take().ServeHTTP(w, r) }))
	defer server.Close()
	receive(t, server, "HTTP/1.1", tt.begins().stream(), 3)
	defer tt.hub.Close()
	for range 10 {
		runtime.GC()
		select {
		case <-released:
			require.Equal(t, 1, tt.hub.Observers())
			return
		case <-time.After(100 * time.Millisecond): // cleanups run in a goroutine of their own
		}
	}
	require.Fail(t, "the server is still referred to")
}
