package legacytest

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// These faults are of the way to the backend and back: what it does is done.

// recorded has a request answered, but not yet to who asked.
func recorded(r *http.Request, well http.HandlerFunc) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	well(answer, r)
	return answer
}

// CutAfter sends the head of the answer and so much of its body, 0 to 1, and breaks the
// connection.
func CutAfter(part float64) Fault {
	return func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
		answer := recorded(r, well)
		body := answer.Body.Bytes()
		maps.Copy(w.Header(), answer.Header())
		w.Header().Set("Content-Length", strconv.Itoa(len(body)+1)) // so that a whole body is not whole either
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body[:int(part*float64(len(body)))])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// Drip sends the answer byte by byte.
func Drip(pause time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
		answer := recorded(r, well)
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		for _, b := range answer.Body.Bytes() {
			_, _ = w.Write([]byte{b})
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		}
	}
}

// Hints sends so many informational answers ahead of the answer.
func Hints(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
		for range n {
			w.WriteHeader(http.StatusEarlyHints)
		}
		well(w, r)
	}
}

// Garbage answers with what is no HTTP.
func Garbage(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
	recorded(r, well)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // of a test that is not over HTTP/1
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("\x16\x03\x01 no such protocol\r\n\r\n"))
}

// Elsewhere redirects to a URL, and does nothing.
func Elsewhere(url string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		http.Redirect(w, r, url, http.StatusFound)
	}
}

// OfAnother answers well, but under the name of a job that there is not.
func OfAnother(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
	answer := recorded(r, well)
	maps.Copy(w.Header(), answer.Header())
	w.Header().Del("Content-Length")
	w.WriteHeader(answer.Code)
	_, _ = w.Write([]byte(strings.ReplaceAll(answer.Body.String(), `"job-`, `"no-job-`)))
}
