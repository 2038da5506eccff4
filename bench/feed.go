package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
	"github.com/caddy-intents/caddy-intents/observe"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/boltstore"
)

// message is in every event, of the usual length.
const message = "a message of the usual length, give or take"

// heartbeat is the pause after which both servers give a sign of life: our default.
const heartbeat = 4 * time.Second

// A ledger is a store in which the events of running intents happen: the topics.
type ledger struct {
	store *boltstore.Store
	held  []store.Held
}

// openLedger makes the intents. Of each event from then on it calls stored at once, with
// the clock started: in the goroutine of the store, after the commit.
func openLedger(ctx context.Context, path string, topics int, c *clocks, stored func(topic int)) (*ledger, error) {
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return nil, err
	}
	l := &ledger{store: s, held: make([]store.Held, topics)}
	numbers := make(map[intent.ID]int, topics)
	for i := range l.held {
		in, events := runningIntent(time.Now(), i)
		if l.held[i], err = s.Create(ctx, in, events); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		numbers[in.ID] = i
	}
	s.Listen(func(sig store.Signal) {
		if sig.Kind == store.Appended {
			c.stamp(numbers[sig.ID])
			stored(numbers[sig.ID])
		}
	})
	return l, nil
}

// happen appends an event, more often than the engine would: what a reading may
// report is bounded, and that is not what is measured here.
func (l *ledger) happen(ctx context.Context, topic int) error {
	h := &l.held[topic]
	in := h.Intent
	in.Seq++
	in.Updated = time.Now()
	in.Message = message
	event := intent.Event{
		IntentID: in.ID, Seq: in.Seq, Type: intent.TypeInProgress, Status: in.Status, At: in.Updated,
		Details: intent.Details{Message: message, Progress: new(float64(40))},
	}
	err := l.store.Append(ctx, store.Change{Intent: in, Epoch: h.Epoch, After: h.Intent.Seq, Events: []intent.Event{event}})
	h.Intent = in
	return err
}

// An ownFeed is the way of an event in our plugin: store, signal, hub, stream.
type ownFeed struct {
	*ledger
	listener net.Listener
	server   http.Server
	hub      *observe.Hub
}

func newOwnFeed(ctx context.Context, path string, topics int, c *clocks) (*ownFeed, error) {
	// The clock's listener comes before the hub's: it starts when the first could know.
	l, err := openLedger(ctx, path, topics, c, func(int) {})
	if err != nil {
		return nil, err
	}
	f := &ownFeed{ledger: l, hub: observe.NewHub(l.store, nil)}
	f.server.Handler = observe.New(observe.Config{Scope: scope, Heartbeat: heartbeat, Store: l.store, Hub: f.hub})
	if f.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, l.store.Close())
	}
	go func() { _ = f.server.Serve(f.listener) }() // until stop
	return f, nil
}

func (f *ownFeed) addr() string { return f.listener.Addr().String() }

func (f *ownFeed) path(topic int) string {
	in := &f.held[topic].Intent
	return fmt.Sprintf(streamPath+"?since=%d", in.ID, in.Seq)
}

func (f *ownFeed) stop() {
	f.hub.Close()
	_ = f.server.Close()
	_ = f.store.Close()
}

// A bareServer is the least that a server of event streams can be in Go.
type bareServer struct {
	listener net.Listener
	server   http.Server

	mu      sync.Mutex
	streams [][]chan []byte // by topic
	seq     []int
}

func newBareServer(topics int) (*bareServer, error) {
	f := &bareServer{streams: make([][]chan []byte, topics), seq: make([]int, topics)}
	f.server.Handler = f
	var err error
	if f.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go func() { _ = f.server.Serve(f.listener) }() // until stop
	return f, nil
}

func (f *bareServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	topic, _ := strconv.Atoi(r.URL.Path[1:])
	frames := make(chan []byte, 16) // full: the event is lost, and the round fails
	f.mu.Lock()
	f.streams[topic] = append(f.streams[topic], frames)
	f.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	life := time.NewTimer(heartbeat)
	defer life.Stop()
	for frame := []byte(sse.Heartbeat); ; {
		if _, err := w.Write(frame); err != nil {
			return
		}
		if rc.Flush() != nil {
			return
		}
		life.Reset(heartbeat)
		select {
		case frame = <-frames:
		case <-life.C:
			frame = []byte(sse.Heartbeat)
		case <-r.Context().Done():
			return
		}
	}
}

// next is the frame of a topic's next event, of the size of ours.
func (f *bareServer) next(topic int) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq[topic]++
	return fmt.Appendf(nil, `id: %d
event: intent.in_progress
data: {"intent_id":"6925c1b2-00a1-8d3e-9f00-2b1c3d4e5f60","seq":%[1]d,"event_type":"intent.in_progress","status":"IN_PROGRESS",`+
		`"at":%q,"details":{"progress":40,"message":%q}}`+"\n\n", f.seq[topic], time.Now().Format(time.RFC3339Nano), message)
}

// send hands a frame to every stream of a topic.
func (f *bareServer) send(topic int, frame []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.streams[topic] {
		select {
		case s <- frame:
		default:
		}
	}
}

func (f *bareServer) addr() string          { return f.listener.Addr().String() }
func (f *bareServer) path(topic int) string { return "/" + strconv.Itoa(topic) }
func (f *bareServer) stop()                 { _ = f.server.Close() }

// A bareFeed stores nothing: an event has happened when it is sent.
type bareFeed struct {
	*bareServer
	clocks *clocks
}

func newBareFeed(topics int, c *clocks) (*bareFeed, error) {
	server, err := newBareServer(topics)
	return &bareFeed{server, c}, err
}

func (f *bareFeed) happen(_ context.Context, topic int) error {
	frame := f.next(topic)
	f.clocks.stamp(topic)
	f.send(topic, frame)
	return nil
}

// A toldFeed is the bare server beside a store: its frames are ready before their events
// are stored, and are sent when they are.
type toldFeed struct {
	*bareServer
	ledger *ledger
	ready  []atomic.Pointer[[]byte] // by topic
}

func newToldFeed(ctx context.Context, path string, topics int, c *clocks) (*toldFeed, error) {
	server, err := newBareServer(topics)
	if err != nil {
		return nil, err
	}
	f := &toldFeed{bareServer: server, ready: make([]atomic.Pointer[[]byte], topics)}
	f.ledger, err = openLedger(ctx, path, topics, c, func(topic int) { f.send(topic, *f.ready[topic].Load()) })
	if err != nil {
		server.stop()
	}
	return f, err
}

func (f *toldFeed) happen(ctx context.Context, topic int) error {
	frame := f.next(topic)
	f.ready[topic].Store(&frame)
	return f.ledger.happen(ctx, topic)
}

func (f *toldFeed) stop() {
	f.bareServer.stop()
	_ = f.ledger.store.Close()
}

// frames reads the events of a stream without looking into them: the clients share
// the CPUs with the servers. Heartbeats and retry lines are none.
type frames struct{ in *bufio.Reader }

func newFrames(r io.Reader) *frames { return &frames{bufio.NewReaderSize(r, 2048)} }

// next returns at the end of the next event.
func (f *frames) next() error {
	for data := false; ; {
		line, err := f.in.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case bytes.HasPrefix(line, []byte("data:")):
			data = true
		case len(line) == 1 && data:
			return nil
		}
	}
}
