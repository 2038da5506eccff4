//go:build e2e

package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/internal/redistest"
)

func TestARedisWithoutMemoryTakesNothingAndKeepsAllThatItHas(t *testing.T) {
	server := redistest.Start(t)
	f := newFleet(t, 2, onRedis(server))
	a, b := f.all[0], f.all[1]
	id, job := f.submit(a)
	watcher := f.observe(id, b)
	f.says(job, "begun", 10)
	watcher.await("begun")

	memory := func(most string) {
		answer, err := server.Do("CONFIG", "SET", "maxmemory", most)
		require.NoError(t, err)
		require.Equal(t, "+OK", answer)
	}
	memory("1")
	require.Less(t, f.oldClient(a), 5*time.Second)
	_, resp, _ := f.post(b)
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	require.Equal(t, "unavailable", resp.Header.Get("Intent-Status"))
	before := len(f.backend.Jobs())
	_, resp, _ = f.post(b, "Accept", "text/event-stream")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "before anything was sent")
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.Len(t, f.backend.Jobs(), before)
	code, in := f.get(b, id)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "IN_PROGRESS", in["status"])
	again := f.observe(id, a)
	again.await("begun") // what is there is read
	f.says(job, "while it was full", 20)

	memory("0")
	f.intents()
	watcher.await("while it was full")
	f.backend.Finishes(job)
	require.True(t, strings.HasSuffix(watcher.saw(), "in_progress completed"))
	require.Equal(t, watcher.saw(), again.saw())
	require.Zero(t, watcher.resets+again.resets)
}
