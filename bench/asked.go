package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// asked is a Caddy with a backend of its own that counts what gets through.
type asked struct {
	caddy   *caddyProcess
	backend *backend
}

func (b *bench) startAsked(ctx context.Context, name, block string) (*asked, error) {
	backend, err := startBackend(0)
	if err != nil {
		return nil, err
	}
	caddy, err := b.startCaddy(ctx, name, block, backend)
	if err != nil {
		backend.stop()
		return nil, err
	}
	return &asked{caddy, backend}, nil
}

func (a *asked) stop() {
	a.caddy.kill()
	a.backend.stop()
}

// atWork has each of some clients do something, on a goroutine of its own. Stop ends
// that, joins them and closes the connections.
func atWork(ctx context.Context, clients []*client, work func(ctx context.Context, i int, c *client)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() { work(ctx, i, c) })
	}
	return func() {
		cancel()
		all.Wait()
		closeAll(clients)
	}
}

// askEach has each of n clients ask again and again, as legacy clients do, and counts the
// answers.
func (a *asked) askEach(ctx context.Context, n int, every time.Duration, path func(i int) string, answered *atomic.Int64) (stop func(), err error) {
	clients, err := dialAll(a.caddy.addr, n)
	if err != nil {
		return nil, err
	}
	return atWork(ctx, clients, func(ctx context.Context, i int, c *client) {
		request := get(path(i))
		if pause(ctx, every*time.Duration(i)/time.Duration(n)) != nil {
			return
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if _, err := c.do(request, http.StatusOK); err != nil {
				return // the round sees that fewer got through
			}
			answered.Add(1)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}), nil
}

// perEach is how many nanoseconds of each one's CPU everything took that was counted, in
// one round of both.
func perEach(ctx context.Context, both [2]*asked, counted func(i int) int64) (each [2]float64, err error) {
	var spent [2]time.Duration
	var n [2]int64
	for i, a := range both {
		n[i] = -counted(i)
		before, err := a.caddy.cpu()
		if err != nil {
			return each, err
		}
		spent[i] = -before
		defer a.caddy.profile(pollRound)()
	}
	if err := pause(ctx, pollRound); err != nil {
		return each, err
	}
	for i, a := range both {
		after, err := a.caddy.cpu()
		if err != nil {
			return each, err
		}
		spent[i] += after
		if n[i] += counted(i); n[i] == 0 {
			return each, fmt.Errorf("nothing got through %s", a.caddy.name)
		}
		each[i] = float64(spent[i]) / float64(n[i])
	}
	return each, nil
}
