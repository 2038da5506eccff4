package engine_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
)

// A script is a backend that answers the requests to one URL one after the other as
// it is told; the last answer stays. It answers 404 where it was told nothing.
type script struct {
	mu      sync.Mutex
	answers map[string][]string // by "GET /jobs/1"; "200 body", or "200 Name: value|body"
	asked   []string
	at      []time.Time
	tags    []string // the If-None-Match of each
}

// scripted is a job whose backend is b, with a spec of its own.
func scripted(b *script, change func(*adapter.Spec)) func(*engine.Job, *adapter.Spec) {
	return func(j *engine.Job, s *adapter.Spec) {
		j.Backend = &engine.Backend{Name: "default", Transport: b, InFlight: engine.DefaultInFlight, Rate: engine.DefaultRate}
		j.Pace.Jitter = 0
		change(s)
	}
}

func newScript(answers map[string][]string) *script { return &script{answers: answers} }

// says changes what is answered from now on.
func (b *script) says(request string, answers ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers[request] = answers
}

func (b *script) Send(w http.ResponseWriter, r *http.Request) error {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	code, header, body := b.next(r)
	for name, value := range header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(code)
	_, err := io.WriteString(w, body)
	return err
}

func (b *script) next(r *http.Request) (code int, header map[string]string, body string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	request := r.Method + " " + r.URL.RequestURI()
	b.asked = append(b.asked, request)
	b.at = append(b.at, time.Now())
	b.tags = append(b.tags, r.Header.Get("If-None-Match"))
	answers := b.answers[request]
	if len(answers) == 0 {
		return http.StatusNotFound, nil, ""
	}
	if len(answers) > 1 {
		b.answers[request] = answers[1:]
	}
	digits, rest, _ := strings.Cut(answers[0], " ")
	for _, d := range digits {
		code = code*10 + int(d-'0')
	}
	if line, after, ok := strings.Cut(rest, "|"); ok {
		name, value, _ := strings.Cut(line, ": ")
		return code, map[string]string{name: value}, after
	}
	return code, nil, rest
}

// sent lists the requests so far, without repetitions of one after the other.
func (b *script) sent() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var sent []string
	for _, request := range b.asked {
		if len(sent) == 0 || sent[len(sent)-1] != request {
			sent = append(sent, request)
		}
	}
	return sent
}

// count counts the requests of one kind.
func (b *script) count(request string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, asked := range b.asked {
		if asked == request {
			n++
		}
	}
	return n
}
