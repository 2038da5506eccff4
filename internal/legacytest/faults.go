package legacytest

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Kind is a sort of request that can meet a fault.
type Kind int

const (
	Submits Kind = iota
	Polls
	Cancels
)

// A Fault answers a request instead of the API, or around it: well is what would
// have answered.
type Fault func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc)

// Always makes a fault stay until the backend [Backend.Recovers].
const Always = -1

// trouble is a fault that the next requests of a kind meet.
type trouble struct {
	fault Fault
	times int
}

// Meets lets the next so many requests of a kind meet a fault.
func (b *Backend) Meets(k Kind, f Fault, times int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults[k] = &trouble{f, times}
}

// Recovers ends all faults.
func (b *Backend) Recovers() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.faults)
}

// faulty puts the faults of a kind before what would answer well.
func (b *Backend) faulty(k Kind, well http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if fault := b.next(k, r); fault != nil {
			fault(w, r, well)
			return
		}
		well(w, r)
	}
}

func (b *Backend) next(k Kind, r *http.Request) Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k == Submits {
		b.posts[r.Header.Get(ClientHeader)]++
	}
	t := b.faults[k]
	if t == nil || t.times == 0 {
		return nil
	}
	if t.times != Always {
		t.times--
	}
	return t.fault
}

// Code answers with a code and, unless it is empty, Retry-After.
func Code(code int, retryAfter string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		answer(w, code, map[string]any{"error": http.StatusText(code)})
	}
}

// Body answers 200 with a body of any kind.
func Body(contentType, body string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
	}
}

// HTML is what a proxy, a login or a maintenance page answers: 200 and no JSON.
var HTML = Body("text/html; charset=utf-8", "<!doctype html><title>Maintenance</title><p>We will be right back.</p>")

// Truncated is JSON that stops in the middle, in an answer that is whole as HTTP.
var Truncated = Body("application/json", `{"job_id":"job-1","status":"do`)

// BrokenOff is an answer whose connection breaks within the body.
func BrokenOff(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
	const whole = `{"job_id":"job-1","status":"done"}`
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
	_, _ = w.Write([]byte(whole[:len(whole)/2]))
	_ = http.NewResponseController(w).Flush() // else a server would send nothing at all
	panic(http.ErrAbortHandler)
}

// endless is enough to notice a reader without a bound, and not enough to bring
// the machine down.
const endless = 64 << 20

// Endless is a body that goes on until the reader hangs up.
func Endless(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"`))
	chunk := []byte(strings.Repeat("x", 64<<10))
	for range endless / len(chunk) {
		if _, err := w.Write(chunk); err != nil || r.Context().Err() != nil {
			return
		}
	}
}

// Hang answers nothing until the client gives up.
func Hang(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// Reset breaks the connection before any answer. Trap: on a connection that was
// used before, Go's transport takes that for a stale one and repeats a GET. Only
// [Always] reaches the caller for certain.
func Reset(http.ResponseWriter, *http.Request, http.HandlerFunc) { panic(http.ErrAbortHandler) }

// AnswerLost does what it is asked to do, and then breaks the connection.
func AnswerLost(_ http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
	well(discard{}, r)
	panic(http.ErrAbortHandler)
}

// Late answers well, after d.
func Late(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
		select {
		case <-time.After(d):
			well(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// AnswerInPart does what it is asked to do, and breaks the connection within the body of
// the answer, before the job's name.
func AnswerInPart(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
	well(&inPart{ResponseWriter: w}, r)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

type inPart struct{ http.ResponseWriter }

func (w *inPart) Write(p []byte) (int, error) {
	_, err := w.ResponseWriter.Write(p[:min(len(p), 5)])
	return len(p), err
}

// discard is a writer to nobody.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
