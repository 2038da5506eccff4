package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The report service: an API as there are many. It answers 202 with a job id and
// is then asked for the status until it says done. It knows nothing of Caddy, of
// intents or of event streams, and no line of it would change.

// Reports that can be ordered, by how they go.
const (
	salesReport    = "sales"    // the usual one
	yearlyReport   = "yearly"   // takes four times as long
	forecastReport = "forecast" // fails after a while
)

var errUnknownReport = errors.New("no such report: order sales, yearly or forecast")

// steps are what a running report is at, each for an equal part of the time.
var steps = []string{"collecting orders", "adding up", "drawing charts", "writing the file"}

type report struct {
	id      string
	kind    string
	client  string // who ordered it, for the statistics
	ordered time.Time
}

// requests are what the service got for the reports of one client.
type requests struct {
	Submits int `json:"submits"`
	Polls   int `json:"polls"`
}

type reportService struct {
	routes *http.ServeMux
	takes  time.Duration // of a sales report

	mu      sync.Mutex
	reports map[string]*report
	stats   map[string]*requests
}

func newReportService(takes time.Duration) *reportService {
	s := &reportService{
		routes:  http.NewServeMux(),
		takes:   takes,
		reports: make(map[string]*report),
		stats:   make(map[string]*requests),
	}
	s.routes.HandleFunc("POST /reports/generate", s.generate)
	s.routes.HandleFunc("GET /reports/status/{job_id}", s.status)
	s.routes.HandleFunc("GET /reports/files/{file}", s.file)
	s.routes.HandleFunc("GET /stats", s.showStats)
	return s
}

func (s *reportService) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

// generate takes {"report":"sales"}; without a body it is the sales report.
func (s *reportService) generate(w http.ResponseWriter, r *http.Request) {
	order := struct {
		Report string `json:"report"`
	}{salesReport}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&order)
	if err != nil && !errors.Is(err, io.EOF) {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	if order.Report != salesReport && order.Report != yearlyReport && order.Report != forecastReport {
		writeError(w, http.StatusBadRequest, errUnknownReport)
		return
	}
	rep := s.order(order.Report, r.Header.Get("X-Client"))
	writeJSON(w, http.StatusAccepted, map[string]any{"job_id": rep.id, "status": "pending"})
}

func (s *reportService) order(kind, client string) *report {
	s.mu.Lock()
	defer s.mu.Unlock()
	rep := &report{id: strconv.Itoa(1001 + len(s.reports)), kind: kind, client: client, ordered: time.Now()}
	s.reports[rep.id] = rep
	s.of(client).Submits++
	return rep
}

func (s *reportService) status(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	rep := s.reports[r.PathValue("job_id")]
	if rep != nil {
		s.of(rep.client).Polls++
	}
	s.mu.Unlock()
	if rep == nil {
		writeError(w, http.StatusNotFound, errors.New("no such job"))
		return
	}
	writeJSON(w, http.StatusOK, s.progress(rep, time.Now()))
}

// progress says how far a report is. Nothing works on it: time does.
func (s *reportService) progress(rep *report, now time.Time) map[string]any {
	takes := s.takes
	if rep.kind == yearlyReport {
		takes *= 4
	}
	part := float64(now.Sub(rep.ordered)) / float64(takes)
	switch {
	case part < 0.05:
		return map[string]any{"job_id": rep.id, "status": "pending"}
	case part >= 0.6 && rep.kind == forecastReport:
		return map[string]any{"job_id": rep.id, "status": "failed",
			"error": map[string]any{"message": "no orders in the third quarter"}}
	case part < 1:
		return map[string]any{"job_id": rep.id, "status": "running",
			"percent": int(part * 100), "step": steps[int(part*float64(len(steps)))]}
	}
	return map[string]any{"job_id": rep.id, "status": "done", "url": "/reports/files/" + rep.id + ".csv"}
}

func (s *reportService) file(w http.ResponseWriter, r *http.Request) {
	id, ok := strings.CutSuffix(r.PathValue("file"), ".csv")
	s.mu.Lock()
	rep := s.reports[id]
	s.mu.Unlock()
	if !ok || rep == nil || s.progress(rep, time.Now())["status"] != "done" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/csv")
	fmt.Fprintf(w, "report,region,orders\n%[1]s,north,1204\n%[1]s,south,987\n", rep.kind)
}

// of returns the statistics of a client. The caller holds s.mu.
func (s *reportService) of(client string) *requests {
	if s.stats[client] == nil {
		s.stats[client] = new(requests)
	}
	return s.stats[client]
}

// counted is what the service got for the reports of one client.
func (s *reportService) counted(client string) requests {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.of(client)
}

func (s *reportService) showStats(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	writeJSON(w, http.StatusOK, s.stats)
}

func writeError(w http.ResponseWriter, code int, err error) {
	writeJSON(w, code, map[string]any{"error": err.Error()})
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client may have left
}
