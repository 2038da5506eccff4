package observe

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// BenchmarkDelivery is the time from an event until all observers of its intent
// have written it, without a store and a network.
func BenchmarkDelivery(b *testing.B) {
	for _, n := range []int{1, 100, 5000} {
		b.Run(fmt.Sprintf("observers=%d", n), func(b *testing.B) {
			tt := newTester(b, Config{Heartbeat: time.Hour})
			log := &endless{faultyStore: tt.store, in: tt.begins().in}
			tt.server.Store = log
			written := tt.crowd("/v1/intents/"+log.in.ID.String()+"/events/stream", n)
			b.ReportAllocs()
			for b.Loop() {
				written.Add(n)
				tt.hub.hear(log.happens())
				written.Wait()
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(n), "ns/delivery")
			written.Add(n) // for the last words of the streams
			tt.hub.Close()
		})
	}
}

// BenchmarkIdleObserver reports what an observer costs while nothing happens: a
// stream over HTTP/1.1 without TLS, with its connection in net/http. The client's
// end of the socket is in the figure too, a few hundred bytes.
func BenchmarkIdleObserver(b *testing.B) {
	const observers = 2000
	for b.Loop() {
		tt := newTester(b, Config{Heartbeat: time.Hour})
		server := httptest.NewServer(tt.server)
		job := tt.begins()
		before := memory()
		clients := make([]net.Conn, observers)
		for i := range clients {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			require.NoError(b, err)
			clients[i] = conn
			_, err = fmt.Fprintf(conn, "GET %s?since=2 HTTP/1.1\r\nHost: x\r\n\r\n", job.stream())
			require.NoError(b, err)
		}
		for _, conn := range clients {
			awaitFrame(b, conn)
		}
		heap, stack := memory().less(before)
		b.ReportMetric(float64(heap)/observers, "heap-B/observer")
		b.ReportMetric(float64(stack)/observers, "stack-B/observer")
		for _, conn := range clients {
			_ = conn.Close()
		}
		tt.hub.Close()
		server.Close()
	}
}

// awaitFrame reads until the first event is there: the stream then only waits.
func awaitFrame(b *testing.B, conn net.Conn) {
	received := bufio.NewReaderSize(conn, 256)
	for {
		line, err := received.ReadString('\n')
		require.NoError(b, err)
		if line == "\n" {
			return
		}
	}
}

type footprint struct{ heap, stack uint64 }

func memory() footprint {
	runtime.GC()
	runtime.GC() // what pools hold is given up in two rounds
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{m.HeapInuse, m.StackInuse}
}

func (f footprint) less(before footprint) (heap, stack int64) {
	return int64(f.heap - before.heap), int64(f.stack - before.stack)
}

// crowd opens n streams whose writes are counted down, and waits until they idle.
func (tt *tester) crowd(path string, n int) *sync.WaitGroup {
	var written sync.WaitGroup
	written.Add(2 * n) // what a stream starts with, and the history
	for range n {
		o := &observer{done: make(chan struct{})}
		go o.serve(tt.server, countingWriter{make(http.Header), &written}, request(http.MethodGet, path, nil))
	}
	written.Wait()
	return &written
}

// endless is a store with one intent, of which something new happens as often as
// a benchmark likes, at no cost of its own.
type endless struct {
	*faultyStore
	mu sync.Mutex
	in intent.Intent
}

func (e *endless) Get(context.Context, intent.ID) (intent.Intent, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.in, nil
}

func (e *endless) Events(_ context.Context, id intent.ID, after int64) (intent.Intent, []intent.Event, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if after == e.in.Seq {
		return e.in, nil, nil
	}
	return e.in, []intent.Event{{
		IntentID: id, Seq: e.in.Seq, Type: intent.TypeInProgress, Status: intent.InProgress, At: e.in.Updated,
		Details: intent.Details{Message: "a message of the usual length, give or take"},
	}}, nil
}

func (e *endless) happens() store.Signal {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.in.Seq = e.in.Seq%200 + 1
	return store.Signal{ID: e.in.ID, Kind: store.Appended}
}

// countingWriter counts writes down.
type countingWriter struct {
	header  http.Header
	written *sync.WaitGroup
}

func (w countingWriter) Header() http.Header { return w.header }
func (w countingWriter) WriteHeader(int)     {}
func (w countingWriter) FlushError() error   { return nil }
func (w countingWriter) Write(p []byte) (int, error) {
	w.written.Done()
	return len(p), nil
}
