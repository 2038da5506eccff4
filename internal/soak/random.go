package soak

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// Randomly runs once over and over, on both of two processors, with a seed that is
// printed: INTENTS_SEED repeats a run, INTENTS_EXECS says how often.
func Randomly(t *testing.T, once func(random *rand.Rand) error) {
	t.Helper()
	begun := time.Now()
	seed := Seed(t)
	execs := Number(t, "INTENTS_EXECS", 20_000)
	const workers = 2
	t.Logf("%d executions", execs)
	var running sync.WaitGroup
	for worker := range uint64(workers) {
		running.Go(func() {
			random := rand.New(rand.NewPCG(seed, worker))
			for n := range execs / workers {
				if err := once(random); err != nil {
					t.Errorf("execution %d of worker %d: %v", n, worker, err)
					return
				}
			}
		})
	}
	running.Wait()
	t.Logf("%d executions in %s", execs, time.Since(begun).Round(time.Millisecond))
}

// harm is what words are made of that try to get out of their place: in lines, frames,
// JSON, forms, URLs, pages and terminals.
var harm = []string{
	"\r\n", "\n", "\r", "\n\n", "\x00", "\x1b[2J", "\x7f", "\u0085", "\u2028", "\u2029", "\ufeff", "\ufffd", "\xff", "\xed\xa0\x80", "\t", " ",
	"id: 9", "data: {}", "event: intent.completed", "retry: 1", ":", "\"", "\\", `\u0000`, "{", "}", "[", "]", ",", "null", "{job_id}", "{params.word}", "{http.request.host}",
	"/", "//", "..", ".", "%", "%2f", "%2e%2e", "%00", "%0d%0a", "?", "#", "&", "=", ";", "@", "+", "é", "<script>", "'", "http://evil.example/", "Set-Cookie: a=b", "7", "a", "job",
}

// Hostile is a word of a backend or a client that wants to be taken for more.
func Hostile(random *rand.Rand) string {
	var b strings.Builder
	for range 1 + random.IntN(6) {
		if random.IntN(16) == 0 {
			b.WriteByte(byte(random.IntN(256)))
		} else {
			b.WriteString(harm[random.IntN(len(harm))])
		}
	}
	return b.String()
}
