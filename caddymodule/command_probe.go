package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/probe"
)

func probeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   `probe --submit "<method> <url>" [--data <body>] [--header <line>]... [--status <path>] [--preset <name>]`,
		Short: "Learn how a job API is spoken, and print its job block",
		Long: `
Runs one job of a job API: sends the submit, polls until the job has ended, and
shows at each step what was read and why. Then it warns of what it could not tell,
and prints the block to put into a Caddyfile.

  caddy intents probe --submit "POST http://127.0.0.1:9000/reports/generate" \
    --data "{}" --status "/reports/status/{job_id}"

This starts a real job. Only the host of --submit is spoken to.

With --replay, exchanges that were captured are read instead: a file with a section
"-- submit --" (a request and its answer, as on the wire), and a section "-- poll --"
for each answer to a status request.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(cmd *cobra.Command, _ []string) error { return runProbe(cmd) },
	}
	f := cmd.Flags()
	f.String("submit", "", `Request that starts a job, for example "POST http://127.0.0.1:9000/reports"`)
	f.String("data", "", "Body of the submit, or @<file>")
	f.StringArray("header", nil, `Header of every request, for example "Authorization: Bearer ..."; may be given more than once`)
	f.String("status", "", `Request that asks for a job, for example "GET /reports/{job_id}"`)
	f.String("job-id", "", "Expression for the job's id, for example body.report.id")
	f.String("preset", "", "Preset to start from")
	f.String("replay", "", "File with captured exchanges to read, instead of sending requests")
	f.Bool("json", false, "Print the report as JSON")
	f.Duration("interval", time.Second, "From one poll to the next")
	f.Duration("timeout", 10*time.Second, "How long one request may take")
	f.Duration("limit", 2*time.Minute, "How long all of it may take")
	f.Duration("linger", 7*time.Second, "For how long to go on asking after the end")
	return cmd
}

// probing is what the flags say.
type probing struct {
	submit, data, status, jobID, preset, replay string
	header                                      []string
	json                                        bool
	interval, timeout, limit, linger            time.Duration
}

func runProbe(cmd *cobra.Command) error {
	f := cmd.Flags()
	var p probing
	var errs []error
	for name, to := range map[string]*string{"submit": &p.submit, "data": &p.data, "status": &p.status, "job-id": &p.jobID, "preset": &p.preset, "replay": &p.replay} {
		value, err := f.GetString(name)
		*to, errs = value, append(errs, err)
	}
	for name, to := range map[string]*time.Duration{"interval": &p.interval, "timeout": &p.timeout, "limit": &p.limit, "linger": &p.linger} {
		value, err := f.GetDuration(name)
		*to, errs = value, append(errs, err)
	}
	header, err := f.GetStringArray("header")
	p.header, errs = header, append(errs, err)
	asJSON, err := f.GetBool("json")
	p.json, errs = asJSON, append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return p.run(ctx, cmd.OutOrStdout())
}

// run runs the probe and prints its report.
func (p probing) run(ctx context.Context, w io.Writer) error {
	what, err := p.probe()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	report, err := what.Run(ctx)
	if err != nil {
		return fmt.Errorf("%w (see caddy intents probe --help)", err)
	}
	if p.json {
		return printJSON(w, report)
	}
	if _, err := io.WriteString(w, report.Text()); err != nil || report.Job == "" && report.Status == "" {
		return err
	}
	_, err = fmt.Fprintf(w, "\n%s", p.block(what, report))
	return err
}

// probe makes a probe of the flags.
func (p probing) probe() (probe.Probe, error) {
	what := probe.Probe{Interval: p.interval, Linger: p.linger, Scheme: "http", Host: "localhost"}
	header, err := parseHeaders(p.header)
	if err != nil {
		return what, err
	}
	if p.replay != "" {
		err = p.fromCapture(&what)
	} else {
		err = p.fromFlags(&what, header)
	}
	if err != nil {
		return what, err
	}
	what.Spec, err = p.spec(what.Submit)
	return what, err
}

func (p probing) fromCapture(what *probe.Probe) error {
	if p.submit != "" || p.data != "" {
		return errors.New("--replay: the submit is in the capture; leave out --submit and --data")
	}
	text, err := os.ReadFile(p.replay)
	if err != nil {
		return fmt.Errorf("--replay: %w", err)
	}
	capture, err := probe.ParseReplay(string(text))
	if err != nil {
		return fmt.Errorf("--replay %s: %w", p.replay, err)
	}
	what.Backend, what.Submit = capture, capture.Submit
	what.Host = cmp.Or(capture.Host, "api.example.com")
	return nil
}

func (p probing) fromFlags(what *probe.Probe, header http.Header) error {
	method, target, err := requestFlag("submit", p.submit)
	if err != nil {
		return err
	}
	base, err := url.Parse(target)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil {
		return fmt.Errorf(`--submit: %q is no request with a whole URL; write for example "POST http://127.0.0.1:9000/reports"`, p.submit)
	}
	body := []byte(p.data)
	if file, ok := strings.CutPrefix(p.data, "@"); ok {
		if body, err = os.ReadFile(file); err != nil {
			return fmt.Errorf("--data: %w", err)
		}
	}
	own := http.Header{}
	if len(body) > 0 && header.Get("Content-Type") == "" {
		own.Set("Content-Type", "application/json")
	} else if kind := header.Get("Content-Type"); kind != "" {
		own.Set("Content-Type", kind)
		header.Del("Content-Type") // of the submit's body, not of every request
	}
	what.Submit = adapter.Request{Method: cmp.Or(method, http.MethodPost), URL: base.RequestURI(), Header: own, Body: body}
	what.Host, what.Scheme = base.Host, base.Scheme
	what.Backend = &probe.Live{Base: base, Header: header, Timeout: p.timeout}
	return nil
}

func parseHeaders(lines []string) (http.Header, error) {
	header := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(line, "\r\n") {
			return nil, errors.New(`--header: write "<name>: <value>"`) // the value may be a secret
		}
		header.Add(name, strings.TrimSpace(value))
	}
	return header, nil
}

// spec is what the flags say of the job API.
func (p probing) spec(submit adapter.Request) (adapter.Spec, error) {
	path, _, _ := strings.Cut(submit.URL, "?")
	route := adapter.Route{Method: submit.Method, Path: path}
	j := &Job{Name: "job", Preset: p.preset}
	j.JobID = p.jobID
	if p.status != "" {
		method, target, err := requestFlag("status", p.status)
		if err != nil {
			return adapter.Spec{}, err
		}
		j.Status = &adapter.Endpoint{Method: method, Target: target}
	}
	whole, err := j.overPreset()
	if err != nil {
		return adapter.Spec{}, fmt.Errorf("--%w", err)
	}
	if whole.Submit.Path == "" || !whole.Submit.Overlaps(route) {
		route.RefusedWhen, route.FinalWhen = whole.Submit.RefusedWhen, whole.Submit.FinalWhen
		whole.Submit = route
	}
	return whole.Spec, nil
}

// block is the job block to write. What a preset says is not repeated; credentials
// are named, not told.
func (p probing) block(what probe.Probe, report *probe.Report) string {
	j := &Job{Name: "job", Spec: report.Spec}
	if p.preset != "" {
		j = &Job{Name: "job", Preset: p.preset}
		j.Submit = adapter.Route{Method: what.Spec.Submit.Method, Path: what.Spec.Submit.Path}
		if p.status != "" {
			j.Status = what.Spec.Status
		}
		j.JobID = p.jobID
	}
	if live, ok := what.Backend.(*probe.Live); ok && len(live.Header) > 0 {
		status := adapter.Endpoint{}
		if j.Status != nil {
			status = *j.Status
		}
		status.Header = maps.Clone(status.Header)
		if status.Header == nil {
			status.Header = http.Header{}
		}
		for _, name := range slices.Sorted(maps.Keys(live.Header)) {
			if name == "Host" { // the proxy's own
				continue
			}
			status.Header.Set(name, "{env."+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"}")
		}
		j.Status = &status
	}
	return j.caddyfile()
}
