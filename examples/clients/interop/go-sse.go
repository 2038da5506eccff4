// Command interop follows an intent with go-sse: go run . URL BODY
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/tmaxmax/go-sse"
)

func main() {
	resp, err := http.Post(os.Args[1], "application/json", strings.NewReader(os.Args[2]))
	if err != nil {
		log.Fatal(err)
	}
	var answer struct {
		URL string `json:"observe_url"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		log.Fatal(err)
	}
	stream, err := resp.Request.URL.Parse(answer.URL)
	if err != nil {
		log.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodGet, stream.String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	ended := false
	client := *sse.DefaultClient
	client.OnRetry = func(_ error, wait time.Duration) {
		if ended && wait > time.Hour { // it comes back, but when the end says: in a day
			os.Exit(0)
		}
	}
	conn := client.NewConnection(r)
	conn.SubscribeToAll(func(e sse.Event) {
		var event struct {
			Seq    int
			Status string
		}
		if err := json.Unmarshal([]byte(e.Data), &event); err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Seq, event.Status)
		ended = event.Status == "COMPLETED"
	})
	log.Fatal(conn.Connect())
}
