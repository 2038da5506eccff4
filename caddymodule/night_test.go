//go:build e2e

package caddymodule_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// run runs a command of the plugin against the running Caddy and returns what it says
// and its exit code.
func (p *process) intents(command string, args ...string) (string, int) {
	p.t.Helper()
	args = append([]string{"intents", command}, args...)
	if command != "observe" {
		args = append(args, "--address", p.Admin)
	}
	out, err := p.Run(args...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out, exit.ExitCode()
	}
	require.NoError(p.t, err)
	return out, 0
}

// succeeds is intents for what has to.
func (p *process) succeeds(command string, args ...string) string {
	p.t.Helper()
	out, code := p.intents(command, args...)
	require.Zero(p.t, code, out)
	return out
}

// TestAtThreeAtNight: the backend begins to answer a word that the config does not map.
// The list names the intents, show says what to write, and after the reload they end.
func TestAtThreeAtNight(t *testing.T) {
	p := newProcess(t)
	p.configure(mappedReport)
	p.Start()
	stuck, job := p.submit()
	fine, other := p.submit()
	p.backend.Says(job, "running", 40)
	o := p.observe(stuck)
	o.until(intent.InProgress)
	p.backend.SaysAll(job, legacytest.Status{State: "archived", Percent: 60, Step: "moved\x1b[2J\u009b2J away"})
	p.backend.Finishes(other)
	p.observe(fine).until(intent.Completed)
	for o.next().Details.UnknownState != "archived" {
	}

	listed := p.succeeds("list", "--status", "in_progress", "--older", "0s", "--unknown")
	require.Contains(t, listed, stuck)
	require.NotContains(t, listed, fine)
	require.Contains(t, listed, `unknown state "archived"`)
	require.NotContains(t, p.succeeds("list", "--status", "in_progress", "--older", "10m"), stuck)
	var rows struct {
		Intents []struct {
			IntentID string `json:"intent_id"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(p.succeeds("list", "--unchanged", "0s", "--json")), &rows))
	require.Len(t, rows.Intents, 1)
	require.Equal(t, stuck, rows.Intents[0].IntentID)

	shown := p.succeeds("show", stuck)
	for _, want := range []string{"Last asked ", `"status":"archived"`, `read by: state body.status is "archived"`,
		"state body.status {", "completed archived", "caddy reload", "unknown state", "streams"} {
		require.Contains(t, shown, want)
	}
	for _, output := range []string{shown, listed, p.succeeds("show", "--json", stuck), p.succeeds("list", "--json")} {
		require.NotContains(t, output, "\x1b")
		require.NotContains(t, output, "\u009b")
	}
	require.Contains(t, p.succeeds("poll", stuck), "read by: state body.status")
	require.Contains(t, p.succeeds("stats"), "1 running, 1 ended")
	_, code := p.intents("watch", "--timeout", "1ms", stuck)
	require.Equal(t, 13, code)

	p.configure(strings.Replace(mappedReport, "completed done", "completed done archived", 1))
	p.Reload()
	require.Contains(t, p.succeeds("watch", stuck), "COMPLETED")
	require.NotContains(t, p.succeeds("list", "--running"), stuck)
	require.Contains(t, p.succeeds("show", stuck), "completed")
}

func TestExitCodesTellWhatBecameOfAnIntent(t *testing.T) {
	p := newProcess(t)
	p.configure(mappedReport)
	p.Start()
	url := func(id string) string { return "http://" + p.addr + "/v1/intents/" + id + "/events/stream" }
	ended := func(end func(id, job string)) string {
		id, job := p.submit()
		end(id, job)
		_, _ = p.intents("watch", id)
		return id
	}
	for want, id := range map[int]string{
		0:  ended(func(_, job string) { p.backend.Finishes(job) }),
		10: ended(func(id, _ string) { p.succeeds("end", "--reason", "lost", "--status", "failed", id) }),
		11: ended(func(id, _ string) { p.succeeds("cancel", "--reason", "wrong year", id) }),
	} {
		out, code := p.intents("observe", url(id))
		require.Equal(t, want, code, out)
		out, code = p.intents("watch", id)
		require.Equal(t, want, code, out)
		out, code = p.intents("end", "--reason", "again", id)
		require.Equal(t, 5, code)
		require.Contains(t, out, "it is over already")
	}
	unknown := intent.NewID(time.Now(), 0).String()
	for _, command := range []string{"show", "poll", "cancel", "watch"} {
		out, code := p.intents(command, unknown)
		require.Equal(t, 4, code, out)
	}
	_, code := p.intents("observe", url(unknown))
	require.Equal(t, 4, code)
	_, code = p.intents("show", "nonsense")
	require.Equal(t, 1, code)
	_, code = p.intents("end", unknown)
	require.Equal(t, 1, code, "without a reason")
	_, code = p.intents("observe", "http://"+p.addr+"/reports/files/x.pdf")
	require.Equal(t, 1, code, "that is no stream")
}

// TestObserveGoesOnThroughAKill follows by URL while Caddy is killed and begins again.
func TestObserveGoesOnThroughAKill(t *testing.T) {
	p := newProcess(t)
	p.configure(mappedReport)
	p.Start()
	id, job := p.submit()
	p.backend.Says(job, "running", 40)
	following := p.Command("intents", "observe", "--json", "http://"+p.addr+"/v1/intents/"+id+"/events/stream")
	out := new(strings.Builder)
	following.Stdout = out
	require.NoError(t, following.Start())
	t.Cleanup(func() { _ = following.Process.Kill() })
	p.observe(id).until(intent.InProgress)
	p.Kill()
	p.Start()
	p.backend.Finishes(job)
	require.NoError(t, following.Wait())
	seqs := 0
	for line := range strings.Lines(out.String()) {
		var e intent.Event
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		require.EqualValues(t, seqs+1, e.Seq)
		seqs++
	}
	require.Contains(t, out.String(), "intent.completed")
}
