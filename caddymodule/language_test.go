package caddymodule

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/probe"
)

const languagePage = "../docs/adapter-language.md"

// An example is the lines of a job, a capture, and what is made of it.
var examples = regexp.MustCompile("(?s)```caddyfile\n(.*?)```\n\n```http\n(.*?)```\n\n```text\n(.*?)```\n")

// TestTheExamplesOfTheLanguageReadAsTheySay runs the examples of the reference; with
// -update it writes what they give.
func TestTheExamplesOfTheLanguageReadAsTheySay(t *testing.T) {
	page, err := os.ReadFile(languagePage)
	require.NoError(t, err)
	found := 0
	again := examples.ReplaceAllStringFunc(string(page), func(example string) string {
		found++
		parts := examples.FindStringSubmatch(example)
		return "```caddyfile\n" + parts[1] + "```\n\n```http\n" + parts[2] + "```\n\n```text\n" + playExample(t, parts[1], parts[2]) + "```\n"
	})
	require.Equal(t, strings.Count(string(page), "```caddyfile\n"), found, "an example is not in the form of the others")
	if flag.Lookup("update").Value.String() == "true" {
		require.NoError(t, os.WriteFile(languagePage, []byte(again), 0o600))
		return
	}
	require.Equal(t, again, string(page))
}

// followed are the words that say how a job is followed, not how its API is spoken.
var followed = []string{"deadline", "respond", "copy_headers", "preset_file", "offload", "adopt", "queue", "webhook"}

// TestEveryWordOfAJobHasAnExample keeps the reference complete.
func TestEveryWordOfAJobHasAnExample(t *testing.T) {
	page, err := os.ReadFile(languagePage)
	require.NoError(t, err)
	_, err = adaptBlock(t, "job j {\n\tnothing\n}\n")
	_, known, _ := strings.Cut(err.Error(), "known are: ")
	known, _, _ = strings.Cut(known, ", at ")
	for word := range strings.SplitSeq(known, ", ") {
		if !slices.Contains(followed, word) {
			require.Regexp(t, "(?m)^"+word+" ?", string(page), word)
		}
	}
}

const usualSubmit = "-- submit --\nPOST /jobs\n\nHTTP/1.1 202 Accepted\n\n{\"id\":\"7\"}\n"

func playExample(t *testing.T, lines, capture string) string {
	t.Helper()
	first, _, _ := strings.Cut(lines, " ")
	if first != "submit" && first != "preset" {
		lines = "submit POST /jobs\nstatus GET /jobs/{job_id}\n" + lines
	}
	if !strings.HasPrefix(capture, "-- submit --") {
		capture = usualSubmit + capture
	}
	j, err := adaptBlock(t, "job j {\n"+indented(lines)+"}\n")
	require.NoError(t, err, lines)
	j, err = j.overPreset()
	require.NoError(t, err, lines)
	job, err := adapter.Compile(j.Spec, adapter.Options{})
	require.NoError(t, err, lines)
	replay, err := probe.ParseReplay(capture)
	require.NoError(t, err, capture)
	p := exampled{t: t, job: job, replay: replay}
	p.play()
	return p.out.String()
}

func indented(lines string) string {
	return "\t" + strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n", "\n\t") + "\n"
}

// exampled is an example under way.
type exampled struct {
	t      *testing.T
	job    *adapter.Job
	replay *probe.Replay
	in     intent.Intent
	out    strings.Builder
}

func (p *exampled) play() {
	answer, err := p.replay.Do(p.t.Context(), p.replay.Submit)
	require.NoError(p.t, err)
	params, ok := p.job.MatchSubmit(p.replay.Submit.Method, p.replay.Submit.URL)
	require.True(p.t, ok)
	read, err := p.job.ReadSubmit(adapter.Submitted{Params: params, Host: "api.example.com", Scheme: "https", Path: p.replay.Submit.URL}, answer)
	if err != nil {
		fmt.Fprintln(&p.out, err)
		return
	}
	p.in = intent.Intent{Delivery: read.Delivery, Polling: intent.Polling{Memory: read.Memory}}
	fmt.Fprintf(&p.out, "job %s\n", read.Delivery.JobID)
	if read.Reading != nil && read.Reading.Status.Terminal() {
		p.say(*read.Reading)
		return
	}
	p.requests()
	for {
		answer, err := p.replay.Do(p.t.Context(), adapter.Request{})
		if errors.Is(err, probe.ErrOver) {
			return
		}
		p.poll(answer)
	}
}

func (p *exampled) poll(answer adapter.Answer) {
	before, _ := p.job.PollRequest(&p.in)
	read := p.job.ReadPoll(&p.in, answer)
	p.in.Memory = read.Memory
	if read.Outcome != adapter.Readable {
		fmt.Fprintf(&p.out, "%s\n", read.Outcome)
		return
	}
	if read.Fetch != nil {
		fmt.Fprintf(&p.out, "%s %s\n", read.Fetch.Method, read.Fetch.URL)
		fetched, err := p.replay.Do(p.t.Context(), *read.Fetch)
		require.NoError(p.t, err)
		read.Reading = p.job.ReadFetched(&p.in, read.Reading, fetched)
	}
	p.say(read.Reading)
	if after, _ := p.job.PollRequest(&p.in); after.URL != before.URL {
		p.requests()
	}
}

func (p *exampled) say(r intent.Reading) {
	fmt.Fprint(&p.out, r.Status)
	if r.UnknownState != "" {
		fmt.Fprintf(&p.out, " unknown %q", r.UnknownState)
	}
	if r.Progress != nil {
		fmt.Fprintf(&p.out, " %v %%", *r.Progress)
	}
	if r.Message != "" {
		fmt.Fprintf(&p.out, " %q", r.Message)
	}
	if r.Result != nil {
		fmt.Fprintf(&p.out, " result %s", r.Result)
	}
	if r.ResultURL != "" {
		fmt.Fprintf(&p.out, " result at %s", r.ResultURL)
	}
	if r.Error != nil {
		fmt.Fprintf(&p.out, " error %s %q", r.Error.Code, r.Error.Message)
	}
	fmt.Fprintln(&p.out)
}

// requests tells what would be sent.
func (p *exampled) requests() {
	poll, err := p.job.PollRequest(&p.in)
	require.NoError(p.t, err)
	fmt.Fprintln(&p.out, strings.TrimSpace(fmt.Sprintf("%s %s %s", poll.Method, poll.URL, poll.Body)))
	if cancel, can, err := p.job.CancelRequest(&p.in); can && err == nil {
		fmt.Fprintln(&p.out, strings.TrimSpace(fmt.Sprintf("cancel: %s %s %s", cancel.Method, cancel.URL, cancel.Body)))
	}
}
