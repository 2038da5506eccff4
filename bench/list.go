package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// How long an operator waits for a page of many intents, from the admin endpoint of a
// Caddy that polls them meanwhile: the youngest, and those with a word that none has,
// for which as many are looked at as a page may cost.
const (
	listCount = 100_000
	listLimit = 10 * time.Millisecond
	listTurns = 20 // in a round
)

var listed = []struct{ what, query string }{
	{"of all", "limit=100"},
	{"by a word that none has", "limit=100&unknown=archived"},
}

func measureList(ctx context.Context, b *bench) error {
	n := b.sized(listCount)
	if err := b.fill(ctx, b.path("list.db"), n); err != nil {
		return err
	}
	b.about("list", "pages of 100 of %d intents, in turns, %d a round", n, listTurns)
	a, err := b.startAsked(ctx, "list", usualJob)
	if err != nil {
		return err
	}
	defer a.stop()
	if err := pause(ctx, pollWarmUp); err != nil {
		return err
	}
	took := make([][]float64, len(listed))
	for range b.rounds * listTurns {
		for i, l := range listed {
			d, err := a.caddy.list(ctx, l.query)
			if err != nil {
				return err
			}
			took[i] = append(took[i], float64(d))
		}
	}
	for i, l := range listed {
		ours := time.Duration(median(took[i]))
		b.results = append(b.results, result{
			what:     fmt.Sprintf("page of 100 of %d, %s", n, l.what),
			ours:     fmt.Sprintf("%.1f ms", ours.Seconds()*1e3),
			baseline: listLimit.String(),
			ratio:    float64(ours) / float64(listLimit), limit: 1,
		})
	}
	return nil
}

// list asks for a page and tells how long it took.
func (c *caddyProcess) list(ctx context.Context, query string) (time.Duration, error) {
	begun := time.Now()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.admin+"/intents/?"+query, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("listing by %q: %s", query, resp.Status)
	}
	return time.Since(begun), nil
}
