package caddymodule_test

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/intent"
)

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

// reloads is how many a storm has.
const reloads = 60

func TestAReloadStormLosesNoEventAndPollsNobodyTwice(t *testing.T) {
	s := newSite(t)
	opened.Store(0)
	closed.Store(0)
	s.serve(report)
	id, job := s.submit()
	o := s.observe(id)
	first := time.Now()
	for n := range reloads {
		// Each config differs, and the first line of each is a percentage more.
		s.backend.Says(job, "running", n)
		s.serve(strings.Replace(report, "intents TO {", "intents TO {\nheartbeat "+strconv.Itoa(1+n%50)+"s", 1))
	}
	s.backend.Finishes(job)
	o.until(intent.Completed)
	o.ends()
	polls := s.backend.Polls(job)
	require.LessOrEqual(t, polls, int(time.Since(first)/(100*time.Millisecond))+1, "one poll per interval")
	require.EqualValues(t, 1, opened.Load(), "the file was opened once")
	require.EqualValues(t, 0, closed.Load())
	require.NoError(t, caddy.Stop())
	require.EqualValues(t, 1, closed.Load())
}

func TestAReloadThatFailsLeavesTheOldConfigWorking(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	id, job := s.submit()
	o := s.observe(id)

	// Another job by another name: had it been applied, the intent would be parked.
	// No interface has this address (RFC 5737), so listening fails, after Provision.
	_, port, err := net.SplitHostPort(s.addr)
	require.NoError(t, err)
	other := string(s.config(strings.Replace(report, "job report", "job other", 1)))
	bad := strings.ReplaceAll(other, `":`+port+`"`, `"203.0.113.1:`+port+`"`)
	require.NotEqual(t, other, bad)
	require.ErrorContains(t, caddy.Load([]byte(bad), true), "203.0.113.1")

	s.backend.Finishes(job)
	o.until(intent.Completed)
	id, job = s.submit()
	s.backend.Finishes(job)
	s.observe(id).until(intent.Completed)
}

func TestAnotherStoreByReloadEndsStreamsOfTheOldOne(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	id, _ := s.submit()
	o := s.observe(id)
	o.until(intent.InProgress)
	s.store += ".2"
	s.serve(report)
	var err error
	for err == nil { // what was on its way may come first
		_, err = o.tryNext()
	}
	id, job := s.submit()
	s.backend.Finishes(job)
	s.observe(id).until(intent.Completed)
}

func TestARestartOfCaddyResumesEverything(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	id, job := s.submit()
	s.observe(id).until(intent.InProgress)
	require.NoError(t, caddy.Stop())
	s.backend.Finishes(job)
	s.serve(report)
	o := s.observe(id)
	require.Equal(t, intent.Created, o.next().Status)
	o.until(intent.Completed)
}

func TestALinkedDirectoryIsOneStoreFromTheFirstReload(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(dir+"/real", 0o700))
	require.NoError(t, os.Symlink(dir+"/real", dir+"/link"))
	s.store = dir + "/link/new/intents.db"
	opened.Store(0)
	s.serve(report)
	id, job := s.submit()
	s.serve(strings.Replace(report, "intents TO {", "intents TO {\nheartbeat 9s", 1))
	require.EqualValues(t, 1, opened.Load())
	s.backend.Finishes(job)
	s.observe(id).until(intent.Completed)
}
