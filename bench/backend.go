package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// A backend is a plain job API on a socket. Its jobs run for ever and say the same
// whenever they are asked, unless they are lively.
type backend struct {
	addr   string
	work   time.Duration // a submit takes from nothing to this, evenly
	lively bool          // each answer to a get tells something new
	posts  atomic.Int64
	gets   atomic.Int64
	told   atomic.Int64 // of how many jobs the answers to gets told
	server http.Server
}

// The routes that every budget's job has.
const (
	submitPath = "/reports/generate"
	statusPath = "/reports/status/"
	batchPath  = "/reports/statuses"
	streamPath = "/v1/intents/%s/events/stream"
)

func startBackend(work time.Duration) (*backend, error) {
	b := &backend{work: work}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b.addr = listener.Addr().String()
	b.server.Handler = b
	go func() { _ = b.server.Serve(listener) }() // until stop
	return b, nil
}

func (b *backend) stop() { _ = b.server.Close() }

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPost {
		_, _ = io.Copy(io.Discard, r.Body)
		if b.work > 0 {
			time.Sleep(rand.N(b.work))
		}
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"job_id":"job-%d","status":"pending"}`, b.posts.Add(1))
		return
	}
	b.gets.Add(1)
	if r.URL.Path != batchPath {
		b.tell(w, r.URL.Path[len(statusPath):])
		return
	}
	between := "["
	for id := range strings.SplitSeq(r.URL.Query().Get("ids"), ",") {
		_, _ = io.WriteString(w, between)
		b.tell(w, id)
		between = ","
	}
	_, _ = io.WriteString(w, "]")
}

func (b *backend) tell(w io.Writer, id string) {
	row := b.told.Add(1)
	if !b.lively {
		row = 0
	}
	fmt.Fprintf(w, `{"job_id":%q,"status":"running","percent":40,"step":"reading row %d"}`, id, row)
}
