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
	exits := map[any]int{"COMPLETED": 0, "FAILED": 1, "CANCELED": 1, "TIMED_OUT": 1}
	cancel, job, position, retry := len(os.Args) > 3, map[string]any{}, "", 2*time.Second
	answer := must(http.Post(os.Args[1], "application/json", strings.NewReader(os.Args[2])))
	_ = json.NewDecoder(answer.Body).Decode(&job)
	observe, ok := job["observe_url"].(string)
	if !ok {
		log.Fatal("no intent: the submit was answered with ", answer.Status)
	}
	stream := must(answer.Request.URL.Parse(observe))
	for ; ; time.Sleep(retry) {
		header := http.Header{"Accept": {"text/event-stream"}, "Last-Event-Id": {position}}
		answer, err := http.DefaultClient.Do(&http.Request{Method: "GET", URL: stream, Header: header})
		if err != nil {
			continue // nobody there: come back
		}
		if code := answer.StatusCode; code >= 400 && code < 500 && code != 429 {
			log.Fatal("the stream was answered with ", answer.Status)
		}
		silence := time.AfterFunc(15*time.Second, func() { answer.Body.Close() })     // signs of life come more often
		frame := map[string]string{"retry": answer.Header.Get("Retry-After") + "000"} // in ms, as there
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); silence.Reset(15 * time.Second) {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			frame[name] = value
			if wait, _ := time.ParseDuration(frame["retry"] + "ms"); wait > 0 {
				retry = min(wait, time.Minute)
			}
			event := map[string]any{}
			if name != "" || json.Unmarshal([]byte(frame["data"]), &event) != nil {
				continue // the frame is not whole yet
			}
			position, frame = frame["id"], map[string]string{}
			fmt.Println(event["seq"], event["status"])
			if code, over := exits[event["status"]]; over {
				os.Exit(code)
			}
			if cancel && event["status"] == "IN_PROGRESS" {
				must(http.DefaultClient.Do(&http.Request{Method: "DELETE", URL: stream.JoinPath("../..")}))
				cancel = false
			}
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
