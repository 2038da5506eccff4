// Command legacy is a report service as there are many: it answers 202 with a job id and
// is then asked for the status until it says done. It knows nothing of what is before it.
//
//	legacy ADDRESS SECONDS
package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

type service struct {
	takes time.Duration

	mu      sync.Mutex
	ordered map[string]time.Time
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "legacy:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("write the address to listen on and the seconds that a report takes")
	}
	seconds, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	s := &service{takes: time.Duration(seconds) * time.Second, ordered: make(map[string]time.Time)}
	routes := http.NewServeMux()
	routes.HandleFunc("POST /reports/generate", s.generate)
	routes.HandleFunc("GET /reports/status/{id}", s.status)
	return http.ListenAndServe(args[0], routes)
}

func (s *service) generate(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	id := fmt.Sprintf("report-%d", len(s.ordered)+1)
	s.ordered[id] = time.Now()
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"job_id":%q,"status":"pending"}`, id)
}

func (s *service) status(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	s.mu.Lock()
	ordered, ok := s.ordered[id]
	s.mu.Unlock()
	if !ok {
		http.Error(w, `{"error":"no such report"}`, http.StatusNotFound)
		return
	}
	// Who polls is only for the script that shows it.
	fmt.Printf("%s asks for %s\n", r.Header.Get("X-Replica"), id)
	w.Header().Set("Content-Type", "application/json")
	if gone := time.Since(ordered); gone < s.takes {
		fmt.Fprintf(w, `{"job_id":%q,"status":"running","percent":%d}`, id, 10*(10*gone/s.takes))
		return
	}
	fmt.Fprintf(w, `{"job_id":%q,"status":"done","url":"/reports/files/%s.pdf"}`, id, id)
}
