// Submits a job and follows its intent to the end: go run ./examples/clients URL BODY [cancel]
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	cancel := len(os.Args) > 3
	answer, err := http.Post(os.Args[1], "application/json", strings.NewReader(os.Args[2]))
	check(err)
	job, position, retry := map[string]any{}, "", 2*time.Second
	check(json.NewDecoder(answer.Body).Decode(&job))
	observe, _ := job["observe_url"].(string)
	stream, err := answer.Request.URL.Parse(observe)
	if err != nil || observe == "" {
		log.Fatal("no intent: the submit was answered with ", answer.Status)
	}
	for ; ; time.Sleep(retry) {
		header := http.Header{"Accept": {"text/event-stream"}, "Last-Event-Id": {position}}
		answer, err := http.DefaultClient.Do(&http.Request{Method: "GET", URL: stream, Header: header})
		if err != nil {
			continue // nobody there: come back
		}
		if code := answer.StatusCode; code >= 400 && code < 500 && code != 429 {
			log.Fatal("the stream was answered with ", answer.Status)
		}
		// A sign of life comes every few seconds: silence is a dead connection.
		silence := time.AfterFunc(15*time.Second, func() { answer.Body.Close() })
		frame := map[string]string{"retry": answer.Header.Get("Retry-After") + "000"} // in ms, as there
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); silence.Reset(15 * time.Second) {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			frame[name] = value
			if wait, _ := time.ParseDuration(frame["retry"] + "ms"); wait > 0 {
				retry = min(wait, time.Minute)
			}
			if name != "" || frame["data"] == "" {
				continue // the frame is not whole yet
			}
			event := map[string]any{}
			check(json.Unmarshal([]byte(frame["data"]), &event))
			position, frame = frame["id"], map[string]string{}
			fmt.Println(event["seq"], event["status"])
			switch event["status"] {
			case "COMPLETED":
				return
			case "FAILED", "CANCELED", "TIMED_OUT":
				os.Exit(1)
			case "IN_PROGRESS":
				if cancel {
					_, err := http.DefaultClient.Do(&http.Request{Method: "DELETE", URL: stream.JoinPath("../..")})
					check(err)
				}
				cancel = false
			}
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
