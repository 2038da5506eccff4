// Command clients submits a job and follows its intent to the end:
//
//	go run ./examples/clients URL BODY [cancel]
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

type event struct {
	Seq    int    `json:"seq"`
	Status string `json:"status"`
}

// submit starts a job and returns the URL of its intent's stream.
func submit(at, body string) (*url.URL, error) {
	resp, err := http.Post(at, "application/json", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		URL string `json:"observe_url"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.URL == "" {
		return nil, fmt.Errorf("the submit was answered with %s and no intent", resp.Status)
	}
	return resp.Request.URL.Parse(answer.URL)
}

// An observer follows one intent, and knows where it is and when to come back.
type observer struct {
	url, position string
	retry         time.Duration
}

// follow calls see with each event in order, none twice, until it returns false.
func (o *observer) follow(see func(event) bool) error {
	for ; ; time.Sleep(o.retry) {
		if over, err := o.followOnce(see); over || err != nil {
			return err
		}
	}
}

// followOnce reads one connection to its end, and reports whether it was the last.
func (o *observer) followOnce(see func(event) bool) (over bool, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// A sign of life comes every few seconds: silence is a dead connection.
	silence := time.AfterFunc(15*time.Second, cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url, nil)
	if err != nil {
		return false, err
	}
	r.Header.Set("Accept", "text/event-stream")
	if o.position != "" {
		r.Header.Set("Last-Event-ID", o.position)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, nil // nobody there: come back
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusNoContent: // the end was seen already
		return true, nil
	case code == http.StatusTooManyRequests || code >= 500:
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
			o.retry = time.Duration(n) * time.Second
		}
		return false, nil
	case code != http.StatusOK:
		return false, fmt.Errorf("the stream was answered with %s", resp.Status)
	}
	var id, data string
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); silence.Reset(15 * time.Second) {
		switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
		case "retry":
			ms, _ := strconv.Atoi(value)
			o.retry = time.Duration(ms) * time.Millisecond
		case "id":
			id = value
		case "data":
			data = value
		case "": // the frame is whole, or it is a sign of life
			var e event
			if data == "" || json.Unmarshal([]byte(data), &e) != nil {
				continue
			}
			if o.position, data = id, ""; !see(e) {
				return true, nil
			}
		}
	}
	return false, nil // cut: come back
}

// run is the whole client; it reports whether the job was completed.
func run(at, body string, cancel bool) (completed bool, err error) {
	stream, err := submit(at, body)
	if err != nil {
		return false, err
	}
	intent, _, _ := strings.Cut(stream.String(), "/events/stream")
	o := &observer{url: stream.String(), retry: 2 * time.Second}
	err = o.follow(func(e event) bool {
		fmt.Println(e.Seq, e.Status)
		if cancel && e.Status == "IN_PROGRESS" {
			cancel = false
			r, _ := http.NewRequest(http.MethodDelete, intent, nil)
			if resp, err := http.DefaultClient.Do(r); err == nil {
				resp.Body.Close()
			}
		}
		completed = e.Status == "COMPLETED"
		return !completed && e.Status != "FAILED" && e.Status != "CANCELED" && e.Status != "TIMED_OUT"
	})
	return completed, err
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: clients URL BODY [cancel]")
		os.Exit(2)
	}
	completed, err := run(os.Args[1], os.Args[2], len(os.Args) > 3)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if !completed {
		os.Exit(1)
	}
}
