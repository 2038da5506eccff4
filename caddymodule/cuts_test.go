//go:build e2e

package caddymodule_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
	"github.com/caddy-intents/caddy-intents/internal/ssetest"
)

// Each intent has an observer whose connection breaks after every 1 to 20 events, while
// Caddy, a process of its own, is reloaded, killed, reloaded and asked to exit, again and
// again. No intent ends before Caddy was away four times.
func TestObserversThatAreCutAtRandomSeeEveryEventOnce(t *testing.T) {
	begun, seed := time.Now(), soak.Seed(t)
	p := newProcess(t)
	var script []legacytest.Status
	for percent := 4; percent < 100; percent += 4 {
		script = append(script, legacytest.Status{State: "running", Percent: percent})
	}
	p.backend.EveryJobSays(script...)
	p.beats(1)
	p.Start()

	c := &cutters{cuts: make([]int, soak.Number(t, "INTENTS_CUTS", 40)), problems: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var jobs []string
	for i := range c.cuts {
		id, job := p.submit()
		jobs = append(jobs, job)
		c.begin(ctx, i, rand.New(rand.NewPCG(seed, uint64(i))), "http://"+p.addr+"/v1/intents/"+id+"/events/stream")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.running.Wait()
	}()
	kills := 0
	for n := 0; !c.over(t, done); n++ {
		switch n % 4 {
		case 0, 2:
			p.beats(2 + n%50)
			p.Reload()
		case 1:
			p.Kill()
			kills++
			p.Start()
		case 3:
			p.Terminate()
			require.Zero(t, p.ExitCode())
			p.Start()
		}
		if n == 7 {
			for _, job := range jobs {
				p.backend.Finishes(job)
			}
		}
	}
	all := 0
	for _, n := range c.cuts {
		all += n
	}
	require.GreaterOrEqual(t, all, 4*len(c.cuts), "each was cut when Caddy went away, at least")
	t.Logf("%d intents, %d cuts, %d times killed, %s", len(c.cuts), all, kills, time.Since(begun).Round(time.Millisecond))
}

// beats writes a config that differs from that of another number in its heartbeat.
func (p *process) beats(seconds int) {
	block := strings.Replace(report, "poll 100ms", "poll 1s", 1)
	p.configure(strings.Replace(block, "intents TO {", fmt.Sprintf("intents TO {\nheartbeat %ds\nlimits {\nrate 5000\nin_flight 256\n}", seconds), 1))
}

// Cutters are the observers, each of one intent.
type cutters struct {
	cuts     []int // of each
	running  sync.WaitGroup
	problems chan error // the first one is enough: others are dropped when it is full
}

func (c *cutters) begin(ctx context.Context, i int, random *rand.Rand, url string) {
	c.running.Go(func() {
		var err error
		if c.cuts[i], err = followThroughCuts(ctx, random, url); err != nil {
			select {
			case c.problems <- err:
			default:
			}
		}
	})
}

// over reports whether all have seen the end. It gives them a second for that.
func (c *cutters) over(t *testing.T, done <-chan struct{}) (over bool) {
	t.Helper()
	select {
	case <-done:
		over = true
	case <-time.After(time.Second):
	}
	select {
	case err := <-c.problems:
		require.NoError(t, err)
	default:
	}
	return over
}

// followThroughCuts follows an intent to its end on connections that it breaks, and
// returns on how many besides the first. An error says what was wrong with the events.
func followThroughCuts(ctx context.Context, random *rand.Rand, url string) (cuts int, err error) {
	transport := &http.Transport{DisableKeepAlives: true}
	seq, last := int64(0), ""
	for ; ; cuts++ {
		if ctx.Err() != nil {
			return cuts, fmt.Errorf("%s is at event %d: %w", url, seq, ctx.Err())
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return cuts, err
		}
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		resp, err := transport.RoundTrip(r)
		if err != nil { // Caddy is away
			<-time.After(100 * time.Millisecond)
			continue
		}
		status, err := readSome(resp, 1+random.IntN(20), &seq, &last)
		resp.Body.Close()
		if err != nil || status.Terminal() {
			return cuts, err
		}
	}
}

// nextFrame reads to the next blank line, and takes what is before it as a sloppy client
// does: our own reader would agree with our own writer.
func nextFrame(lines *bufio.Scanner) (ssetest.Event, error) {
	var text strings.Builder
	for lines.Scan() {
		text.WriteString(lines.Text() + "\n")
		if lines.Text() != "" {
			continue
		}
		if events := ssetest.Sloppy(text.String()); len(events) > 0 {
			return events[0], nil
		}
		return ssetest.Event{}, nil
	}
	return ssetest.Event{}, cmp.Or(lines.Err(), io.EOF)
}

// readSome reads up to n events of a stream and checks their order.
func readSome(resp *http.Response, n int, seq *int64, last *string) (status intent.Status, err error) {
	if resp.StatusCode == http.StatusServiceUnavailable {
		<-time.After(20 * time.Millisecond)
		return "", nil
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("after event %d: %s", *seq, resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	for frames := 0; frames < n; {
		frame, err := nextFrame(lines)
		if err != nil {
			return status, nil // the connection broke
		}
		if frame.Data == "" {
			continue // when to come back
		}
		frames++
		var e intent.Event
		if err := json.Unmarshal([]byte(frame.Data), &e); err != nil {
			return status, errors.Join(err, errors.New(frame.Data))
		}
		if e.Seq != *seq+1 || frame.ID != strconv.FormatInt(e.Seq, 10) {
			return status, fmt.Errorf("event %d (id %s, %s) follows event %d", e.Seq, frame.ID, frame.Event, *seq)
		}
		*seq, *last, status = e.Seq, frame.ID, e.Status
	}
	return status, nil
}
