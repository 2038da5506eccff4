package observe

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The clients in this file do what AXME's SDKs and CLI do with the answers they get.

// An axme is one of them, following one intent.
type axme struct {
	tt   *tester
	name string // in X-Axme-Client; "" sends none, as those for .NET and Java
	path string // of the intent
	ctx  context.Context

	mu       sync.Mutex
	events   []wireEvent // that it handed to its user
	at       []time.Time // when it did
	requests int
}

// follow runs a client until it ends by itself; stop ends it, as Ctrl-C does.
func (tt *tester) follow(name string, j *job, run func(*axme) error) (c *axme, stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	c = &axme{tt: tt, name: name, path: j.path(), ctx: ctx}
	ended := make(chan error, 1)
	go func() {
		err := run(c)
		if ctx.Err() != nil {
			err = ctx.Err() // whatever broke by it
		}
		ended <- err
	}()
	synctest.Wait()
	return c, func() error {
		defer cancel()
		synctest.Wait()
		select {
		case err := <-ended:
			return err
		default:
			cancel()
			return <-ended
		}
	}
}

var (
	errHTTP = errors.New("an answer that is no success")
	errRush = errors.New("asking again and again without a pause")
)

// rush is more requests than any test here takes. In virtual time a client that spins
// would never be waited for.
const rush = 200

func (c *axme) get(target string) (*http.Response, error) {
	c.mu.Lock()
	c.requests++
	rushes := c.requests > rush
	c.mu.Unlock()
	if rushes {
		return nil, errRush
	}
	r := request(http.MethodGet, target, []string{"X-Api-Key", "k"}).WithContext(c.ctx)
	if c.name != "" {
		r.Header.Set("X-Axme-Client", c.name)
	}
	resp := answerTo(c.tt.server, c.tt.from(r))
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%w: %s", errHTTP, resp.Status)
	}
	return resp, nil
}

func (c *axme) window(since int64) (*http.Response, error) {
	return c.get(fmt.Sprintf("%s/events/stream?since=%d&wait_seconds=15", c.path, since))
}

// listed are the events that a poll brings.
func (c *axme) listed(since int64) ([]wireEvent, error) {
	resp, err := c.get(fmt.Sprintf("%s/events?since=%d", c.path, since))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct{ Events []wireEvent }
	return answer.Events, json.NewDecoder(resp.Body).Decode(&answer)
}

// hands gives an event to the user, and reports whether it is the last.
func (c *axme) hands(e wireEvent) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events, c.at = append(c.events, e), append(c.at, time.Now())
	return slices.Contains([]string{"COMPLETED", "FAILED", "CANCELED", "TIMED_OUT"}, e.Status)
}

// handsAll is hands for several, and moves the cursor behind them.
func (c *axme) handsAll(events []wireEvent, since *int64) (last bool) {
	for _, e := range events {
		*since = max(*since, e.Seq)
		if c.hands(e) {
			return true
		}
	}
	return false
}

func (c *axme) seqs() (seqs []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		seqs = append(seqs, e.Seq)
	}
	return seqs
}

// wants checks that the user has seen each event once and in order.
func (c *axme) wants(first, last int64) {
	c.tt.t.Helper()
	synctest.Wait()
	var want []int64
	for seq := first; seq <= last; seq++ {
		want = append(want, seq)
	}
	require.Equal(c.tt.t, want, c.seqs())
}

func (c *axme) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}

func (c *axme) sleeps(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}

// python reads each window as it comes and polls once after it.
func (c *axme) python() error {
	since := int64(0)
	for c.ctx.Err() == nil {
		if last, err := c.pythonWindow(&since); last || err != nil {
			return err
		}
		if last, err := c.pollsOnce(&since); last || err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

// pythonWindow knows `intent.*` and stream.timeout, and joins lines of data.
func (c *axme) pythonWindow(since *int64) (last bool, err error) {
	resp, err := c.window(*since)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	name, data := "", []string(nil)
	for lines := bufio.NewScanner(resp.Body); ; {
		if !lines.Scan() {
			return false, lines.Err()
		}
		field, value, _ := strings.Cut(lines.Text(), ":")
		switch field {
		case "event":
			name = strings.TrimSpace(value)
		case "data":
			data = append(data, strings.TrimLeft(value, " "))
		}
		if lines.Text() != "" {
			continue
		}
		if name == typeTimeout {
			return false, nil
		}
		if strings.HasPrefix(name, "intent.") && data != nil {
			var e wireEvent
			if err := json.Unmarshal([]byte(strings.Join(data, "\n")), &e); err != nil {
				return false, err
			}
			if c.handsAll([]wireEvent{e}, since) {
				return true, nil
			}
		}
		name, data = "", nil
	}
}

// typescript reads each window to its end before it looks at it, and polls once after it.
func (c *axme) typescript() error {
	since := int64(0)
	for c.ctx.Err() == nil {
		resp, err := c.window(since)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		var events []wireEvent
		for text := range strings.SplitSeq(string(body), "\n\n") {
			_, data, _ := strings.Cut(text, "data:")
			var e wireEvent
			if strings.Contains(text, "event: intent.") && json.Unmarshal([]byte(data), &e) == nil {
				events = append(events, e)
			}
		}
		if c.handsAll(events, &since) {
			return nil
		}
		if last, err := c.pollsOnce(&since); last || err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

func (c *axme) pollsOnce(since *int64) (last bool, err error) {
	events, err := c.listed(*since)
	if len(events) == 0 {
		c.sleeps(time.Second)
	}
	return c.handsAll(events, since), err
}

// polls is what the SDKs for Go, .NET and Java do: they know no stream.
func (c *axme) polls() error {
	since := int64(0)
	for c.ctx.Err() == nil {
		events, err := c.listed(since)
		if err != nil {
			return err
		}
		if c.handsAll(events, &since) {
			return nil
		}
		c.sleeps(time.Second)
	}
	return c.ctx.Err()
}

// watch is `axme intents watch`, which ends with Ctrl-C only.
func (c *axme) watch() error {
	next := int64(1)
	for c.ctx.Err() == nil {
		resp, err := c.window(next)
		if err != nil {
			return err
		}
		next, err = c.watchWindow(resp.Body, next)
		resp.Body.Close()
		if err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

// watchWindow takes the last line of data for all of it, an id that is no number for
// 0, and whatever is not stream.timeout for an event.
func (c *axme) watchWindow(body io.Reader, next int64) (int64, error) {
	name, data, id := "", "", next
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch {
		case field == "id":
			id, _ = strconv.ParseInt(value, 10, 64)
		case field == "event":
			name = value
		case field == "data":
			data = value
		case lines.Text() == "" && data != "":
			var e wireEvent
			_ = json.Unmarshal([]byte(data), &e)
			switch {
			case name == typeTimeout && e.NextSeq > 0:
				next = e.NextSeq
			case name == typeTimeout:
			case e.Seq > 0:
				next = e.Seq
			case id > 0:
				next = id
			}
			if name != typeTimeout {
				c.hands(e)
			}
			name, data, id = "", "", 0
		}
	}
	return next, lines.Err()
}

// answerTo is what a client gets of a handler, as it comes.
func answerTo(server http.Handler, r *http.Request) *http.Response {
	body, in := io.Pipe()
	w := &pipedResponse{header: make(http.Header), in: in, status: make(chan int, 1)}
	go func() {
		defer func() {
			switch recover() {
			case nil:
				w.WriteHeader(http.StatusOK)
				in.Close()
			default:
				in.CloseWithError(io.ErrUnexpectedEOF)
			}
		}()
		server.ServeHTTP(w, r)
	}()
	status := <-w.status
	context.AfterFunc(r.Context(), func() { body.Close() })
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: w.header, Body: body}
}

// A pipedResponse is a response whose bytes are read as they are written.
type pipedResponse struct {
	header http.Header
	in     *io.PipeWriter
	status chan int
	head   sync.Once
}

func (w *pipedResponse) Header() http.Header    { return w.header }
func (w *pipedResponse) WriteHeader(status int) { w.head.Do(func() { w.status <- status }) }
func (w *pipedResponse) FlushError() error      { return nil }

func (w *pipedResponse) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.in.Write(p)
}

// withAXP runs f on a server that bears with AXME's clients.
func withAXP(t *testing.T, f func(t *testing.T, tt *tester)) {
	run(t, func(t *testing.T, tt *tester) {
		tt.configure(Config{AXP: &AXP{IntentTypes: []string{"report"}}})
		f(t, tt)
	})
}
