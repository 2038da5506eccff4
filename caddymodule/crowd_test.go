//go:build e2e

package caddymodule_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/legacytest"
	"github.com/caddy-intents/caddy-intents/internal/soak"
)

// equalPosts is how many clients send the same request with the same key at once.
const equalPosts = 256

func TestEqualPostsOfACrowdAreOneJob(t *testing.T) {
	begun, seed := time.Now(), soak.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	rounds := int(soak.Number(t, "INTENTS_EQUALS", 50))
	p := newProcess(t)
	p.configure(strings.Replace(report, "poll 100ms", "poll 1h", 1))
	p.Start()
	clients := &http.Transport{MaxIdleConnsPerHost: equalPosts}
	defer clients.CloseIdleConnections()
	intents := make(map[string]bool)
	for round := range rounds {
		// From an answer before the others have come to one that all wait for.
		p.backend.Meets(legacytest.Submits, legacytest.Late(time.Duration(random.IntN(60))*time.Millisecond), 1)
		who := fmt.Sprintf("client-%d", round)
		answers := p.postTogether(clients, who, random)
		first := requireOneAnswer(t, answers)
		require.False(t, intents[first.intent], "another key is another intent")
		intents[first.intent] = true
		require.Equal(t, 1, p.backend.Posts(who), "round %d", round)
	}
	p.Kill()
	stored, err := takeStock(p.store)
	require.NoError(t, err)
	require.Len(t, stored, rounds)
	for _, e := range stored {
		require.True(t, intents[e.Stored.Intent.ID.String()], "%s is nobody's", e.Stored.Intent.ID)
	}
	require.Len(t, p.backend.Jobs(), rounds)
	t.Logf("%d rounds of %d equal POSTs in %s", rounds, equalPosts, time.Since(begun).Round(time.Millisecond))
}

// An answered is what one of many clients got.
type answered struct {
	whole    string // but for what may differ
	code     int
	intent   string
	replayed string
	err      error
}

// postTogether has all clients post at the same time, and returns what each got.
func (p *process) postTogether(clients *http.Transport, who string, random *rand.Rand) []answered {
	answers := make([]answered, equalPosts)
	ready, start := new(sync.WaitGroup), make(chan struct{})
	all := new(sync.WaitGroup)
	key := fmt.Sprintf("key-%d", random.Uint64())
	for i := range answers {
		ready.Add(1)
		all.Go(func() {
			r, err := http.NewRequest("POST", "http://"+p.addr+"/reports/generate", strings.NewReader(`{"kind":"annual"}`))
			ready.Done()
			if err != nil {
				answers[i].err = err
				return
			}
			r.Header.Set("Idempotency-Key", key)
			r.Header.Set(legacytest.ClientHeader, who)
			<-start
			answers[i] = answer(clients.RoundTrip(r))
		})
	}
	ready.Wait()
	close(start)
	all.Wait()
	return answers
}

func answer(resp *http.Response, err error) answered {
	if err != nil {
		return answered{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a := answered{code: resp.StatusCode, intent: resp.Header.Get("Intent-Id"), replayed: resp.Header.Get("Idempotency-Replayed"), err: err}
	resp.Header.Del("Idempotency-Replayed")
	resp.Header.Del("Date") // when it was sent
	var head strings.Builder
	if err := resp.Header.Write(&head); err != nil {
		return answered{err: err}
	}
	a.whole = fmt.Sprintf("%s\n%s\n%s", resp.Status, head.String(), body)
	return a
}

// requireOneAnswer asserts that all got the same, one of them first hand.
func requireOneAnswer(t *testing.T, answers []answered) answered {
	t.Helper()
	firsts := 0
	for _, a := range answers {
		require.NoError(t, a.err)
		require.Equal(t, http.StatusAccepted, a.code, a.whole)
		require.NotEmpty(t, a.intent)
		require.Equal(t, answers[0].whole, a.whole)
		if a.replayed == "" {
			firsts++
		} else {
			require.Equal(t, "true", a.replayed)
		}
	}
	require.Equal(t, 1, firsts)
	return answers[0]
}
