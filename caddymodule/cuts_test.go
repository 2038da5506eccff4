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

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
	"github.com/caddy-intents/caddy-intents/internal/ssetest"
)

// Each intent has an observer whose connection breaks after every 1 to 20 events,
// while Caddy is reloaded again and again, and stopped and started once.
func TestObserversThatAreCutAtRandomSeeEveryEventOnce(t *testing.T) {
	begun, seed := time.Now(), soak.Seed(t)
	s := newSite(t)
	var script []legacytest.Status
	for percent := 4; percent < 100; percent += 8 {
		script = append(script, legacytest.Status{State: "running", Percent: percent})
	}
	s.backend.EveryJobSays(append(script, legacytest.Status{State: "done", URL: "/reports/files/1"})...)
	block := strings.Replace(report, "poll 100ms", "poll 1s", 1)
	block = strings.Replace(block, "intents TO {", "intents TO {\nheartbeat HEARTs\nlimits {\nrate 5000\nin_flight 256\n}", 1)
	load := func(n int) { s.serve(strings.Replace(block, "HEART", strconv.Itoa(1+n%50), 1)) }
	load(0)

	var observers sync.WaitGroup
	problems := make(chan error, 1) // the first one is enough; others are dropped when it is full
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cuts := make([]int, soak.Number(t, "INTENTS_CUTS", 40))
	for i := range cuts {
		id, _ := s.submit()
		observers.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			err := error(nil)
			if cuts[i], err = followThroughCuts(ctx, random, "http://"+s.addr+"/v1/intents/"+id+"/events/stream"); err != nil {
				select {
				case problems <- err:
				default:
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		observers.Wait()
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case err := <-problems:
			require.NoError(t, err)
		case <-tick.C:
			if n == 4 {
				require.NoError(t, caddy.Stop())
			}
			load(n)
			continue
		case <-done:
		}
		break
	}
	select {
	case err := <-problems:
		require.NoError(t, err)
	default:
	}
	all := 0
	for _, n := range cuts {
		all += n
	}
	require.GreaterOrEqual(t, all, len(cuts), "connections were cut")
	t.Logf("%d intents, %d cuts, %s", len(cuts), all, time.Since(begun).Round(time.Millisecond))
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
			<-time.After(20 * time.Millisecond)
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
