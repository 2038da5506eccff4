//go:build e2e

package caddymodule_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

func TestSIGTERMEndsStreamsOfOlderConfigsAndFinishesSubmits(t *testing.T) {
	for range 4 { // Caddy stops its apps in any order
		endsStreamsAndFinishesSubmits(t)
	}
}

func endsStreamsAndFinishesSubmits(t *testing.T) {
	p := newProcess(t)
	report := strings.Replace(report, "poll 100ms", "copy_headers Authorization\npoll 100ms", 1)
	p.configure(report)
	p.Start()
	id, _ := p.submit()
	o := p.observe(id)
	o.until(intent.InProgress)
	p.configure(strings.Replace(report, "intents TO {", "intents TO {\nheartbeat 2s", 1))
	p.Reload() // the stream belongs to an older config now

	arrived := make(chan struct{})
	p.backend.Meets(legacytest.Submits, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
		close(arrived)
		legacytest.Late(700*time.Millisecond)(w, r, well)
	}, 1)
	type answer struct {
		code int
		id   string
	}
	submitted := make(chan answer)
	go func() {
		r, err := http.NewRequest(http.MethodPost, "http://"+p.addr+"/reports/generate", strings.NewReader(`{}`))
		if err != nil {
			submitted <- answer{}
			return
		}
		r.Header.Set("Authorization", "Bearer of the client")
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			submitted <- answer{}
			return
		}
		resp.Body.Close()
		submitted <- answer{resp.StatusCode, resp.Header.Get("Intent-Id")}
	}()
	<-arrived
	p.Terminate()
	begun := time.Now()
	var err error
	for err == nil {
		_, err = o.tryNext()
	}
	require.Less(t, time.Since(begun), 10*time.Second, "the stream waits for nothing")
	require.False(t, errors.Is(err, io.EOF), "abnormally, so that no client takes it for the end: %v", err)
	require.Less(t, o.reader.Retry(), 10*time.Second, "and soon to come back")

	got := <-submitted
	require.Equal(t, http.StatusAccepted, got.code, "a submit in flight is finished")
	require.NotEmpty(t, got.id)
	require.Zero(t, p.ExitCode(), p.Log)

	before := len(p.backend.Asked())
	p.Start()
	for _, j := range p.backend.Jobs() {
		p.backend.Finishes(j.ID)
	}
	p.observe(got.id).until(intent.Completed)
	require.True(t, slices.ContainsFunc(p.backend.Asked()[before:], func(r legacytest.Asked) bool {
		return r.Header.Get("Authorization") == "Bearer of the client"
	}), "its polls carry the headers that were to be copied")
	p.Terminate()
	require.Zero(t, p.ExitCode(), p.Log)
}

func TestValidateBesideARunningServerOpensNothing(t *testing.T) {
	p := newProcess(t)
	p.configure(report)
	p.Start()
	out, err := p.Run("validate", "--config", p.File, "--adapter", "caddyfile")
	require.NoError(t, err, out)
	require.Contains(t, out, "Valid configuration")
	id, job := p.submit()
	p.backend.Finishes(job)
	p.observe(id).until(intent.Completed)
}

func TestASecondCaddyOnTheSameFilePassesThrough(t *testing.T) {
	p := newProcess(t)
	p.configure(report)
	p.Start()
	second := newProcess(t)
	second.store, second.backend, second.to = p.store, p.backend, p.to
	second.configure(report)
	second.Start()
	resp := second.do("POST", "/reports/generate", `{}`)
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	require.Equal(t, "unavailable", resp.Header.Get("Intent-Status"))
	require.JSONEq(t, `{"job_id":"job-1","status":"pending"}`, text(t, resp))
	resp = second.do("GET", "/v1/intents/00000000-0000-8000-8000-000000000000", "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.Contains(t, second.Log.String(), "in use by another process")
}

func TestProxyCommandNeedsNoConfig(t *testing.T) {
	p := newProcess(t)
	p.Begin(p.Command("intents", "proxy", "--from", "http://"+p.addr, "--to", p.to, "--store", p.store,
		"--submit", "POST /reports/generate", "--status", "/reports/status/{job_id}"))
	p.Log.Wait(t, "watching jobs")
	id, job := p.submit()
	p.backend.Finishes(job)
	p.observe(id).until(intent.Completed)
}
