package adapter_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

var update = flag.Bool("update", false, "write what the cases in testdata give into them")

// Each case is a spec and what its backend says, as on the wire, then what is made
// of it. Cases whose name begins with bad_ are about what must not be believed.
func TestSpecsReadAnswersAsTheCasesSay(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			got := runCase(t, archive)
			if *update {
				setFile(archive, "want", got)
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
			}
			require.Equal(t, fileOf(archive, "want"), got)
		})
	}
}

// specOf is the spec of a case, over the preset that it names.
func specOf(t *testing.T, a *txtar.Archive) (spec adapter.Spec, err error) {
	written := json.RawMessage(fileOf(a, "spec.json"))
	if name := strings.TrimSpace(fileOf(a, "preset")); name != "" {
		p, err := adapter.BuiltinPreset(name)
		if err != nil {
			return spec, err
		}
		written, err = p.Under(written)
		require.NoError(t, err)
	}
	require.NoError(t, json.Unmarshal(written, &spec))
	return spec, nil
}

// runCase plays a case and writes down what happens.
func runCase(t *testing.T, a *txtar.Archive) string {
	spec, err := specOf(t, a)
	if err != nil {
		return "error " + err.Error() + "\n"
	}
	var options adapter.Options
	if text := fileOf(a, "options.json"); text != "" {
		require.NoError(t, json.Unmarshal([]byte(text), &options))
	}
	job, err := adapter.Compile(spec, options)
	if err != nil {
		_, typed := errors.AsType[*adapter.SpecError](err)
		require.True(t, typed, "%T", err)
		return "error " + err.Error() + "\n"
	}
	p := player{t: t, job: job}
	for _, f := range a.Files {
		switch verb, _, _ := strings.Cut(f.Name, "-"); verb {
		case "submit":
			p.submit(string(f.Data))
		case "poll":
			p.poll(f.Name, string(f.Data))
		case "batch":
			p.batch(f.Name, string(f.Data))
		case "fetched":
			p.fetched(string(f.Data))
		case "canceled":
			fmt.Fprintln(&p.out, f.Name, job.ReadCancel(&p.in, parseAnswer(t, string(f.Data))))
		case "cancels":
			p.cancels(string(f.Data))
		case "delivery":
			s, _, answer := parseExchange(t, string(f.Data))
			p.delivered(f.Name, job.ReadDelivery(s, answer))
		case "lookup":
			s, _, answer := parseExchange(t, string(f.Data))
			asked, err := job.LookupRequest(&intent.Intent{}, "key 1")
			require.NoError(t, err)
			p.say(f.Name, requestText(asked))
			p.delivered(f.Name, job.ReadLookup(s, answer))
		}
	}
	return p.out.String()
}

type player struct {
	t    *testing.T
	job  *adapter.Job
	in   intent.Intent
	last intent.Reading
	out  strings.Builder
}

func (p *player) submit(exchange string) {
	s, method, answer := parseExchange(p.t, exchange)
	params, ok := p.job.MatchSubmit(method, s.Path)
	require.True(p.t, ok, "%s %s is not the submit", method, s.Path)
	s.Params = params
	if !p.job.ReadsRequest() {
		s.Body = nil
	}
	read, err := p.job.ReadSubmit(s, answer)
	if err != nil {
		none, typed := errors.AsType[*adapter.NoJobError](err)
		require.True(p.t, typed, "%T", err)
		fmt.Fprintf(&p.out, "submit    %v\n", err)
		p.say("keys", strings.Join(none.Keys, " "))
		p.say("refused", none.Refused)
		if none.Denied {
			p.say("denied", "by the backend")
		}
		return
	}
	p.in = intent.Intent{Delivery: read.Delivery, Polling: intent.Polling{Memory: read.Memory}}
	p.in.Host, p.in.Scheme, p.in.Request, p.in.Captured = s.Host, s.Scheme, s.Body, s.Body != nil
	p.said(read)
	if read.Reading == nil || !read.Reading.Status.Terminal() {
		p.requests()
	}
}

func (p *player) poll(name, answer string) {
	read := p.job.ReadPoll(&p.in, parseAnswer(p.t, answer))
	fmt.Fprintln(&p.out, name+"   ", pollText(read))
	p.say("refused", read.Refused)
	moved := p.moved(read)
	p.in.Memory, p.last = read.Memory, read.Reading
	if moved {
		p.requests()
	}
	if read.Fetch != nil {
		p.say("fetch", requestText(*read.Fetch))
	}
}

func (p *player) fetched(answer string) {
	p.say("fetched", readingText(p.job.ReadFetched(&p.in, p.last, parseAnswer(p.t, answer))))
}
