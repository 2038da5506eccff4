package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/sse"
)

func watchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch [--job <job>] [--timeout <duration>] [--json] [<id>...]",
		Short: "Follow intents with a live line each, until they have ended",
		Long: `
Follows intents on the admin endpoint: with a line each that is rewritten on a terminal,
and a line for each change anywhere else. With ids it ends when all of them have, and
its exit code says how: 0 for COMPLETED, 10 FAILED, 11 CANCELED, 12 TIMED_OUT, the
highest of them; 13 if it was stopped before. Without ids it shows whatever changes.`,
		SilenceUsage: true,
		RunE:         asks(runWatch),
	}
	addAdminFlags(cmd)
	f := cmd.Flags()
	f.String("scope", "", "Only those of the handler with this name")
	f.String("job", "", "Only those of this job")
	f.Duration("timeout", 0, "Stop after so long")
	f.Bool("json", false, "Print a JSON object for each change")
	return cmd
}

func runWatch(cmd *cobra.Command, c *adminClient, args []string) error {
	query := make(url.Values)
	for _, said := range args {
		id, err := intent.ParseID(said)
		if err != nil {
			return fmt.Errorf("%q is no intent's id; caddy intents list has them", said)
		}
		if !slices.Contains(query["id"], id.String()) {
			query.Add("id", id.String())
		}
	}
	for _, name := range []string{"scope", "job"} {
		if v := cmd.Flag(name).Value.String(); v != "" {
			query.Set(name, v)
		}
	}
	ctx, stop := untilStopped(cmd)
	defer stop()
	w := &watching{admin: c, query: query, ids: query["id"], ended: make(map[string]intent.Status), out: cmd.OutOrStdout(), asJSON: wantsJSON(cmd)}
	w.progress = newProgress(w.out)
	if err := w.check(ctx); ctx.Err() != nil {
		return w.stopped()
	} else if err != nil {
		return err
	}
	for {
		err := w.follow(ctx)
		switch {
		case err == nil:
			return w.outcome()
		case ctx.Err() != nil:
			return w.stopped()
		}
		if e, ok := errors.AsType[*adminError](err); ok && e.status != http.StatusServiceUnavailable {
			return err
		}
		if e, ok := errors.AsType[*exit](err); ok {
			return e
		}
		if !pause(ctx, changesRetry) { // a reload ends the stream; a restart takes longer
			continue
		}
	}
}

// untilStopped ends with an interrupt, or when the time that the flag gives is over.
func untilStopped(cmd *cobra.Command) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	if d, _ := cmd.Flags().GetDuration("timeout"); d > 0 {
		timed, cancel := context.WithTimeout(ctx, d)
		return timed, func() { cancel(); stop() }
	}
	return ctx, stop
}

// A watching follows intents by the stream of changes.
type watching struct {
	admin    *adminClient
	query    url.Values
	ids      []string // which have to end; none for whatever changes
	ended    map[string]intent.Status
	out      io.Writer
	asJSON   bool
	progress *progress
}

// follow reads one stream. It returns nil if all have ended.
func (w *watching) follow(ctx context.Context) error {
	resp, err := w.admin.ask(ctx, adminRequest{path: adminRoot + "changes", query: w.query})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for frames := sse.NewReader(resp.Body); ; {
		frame, err := frames.Next()
		if err != nil {
			return err
		}
		var f change
		if err := json.Unmarshal([]byte(frame.Data), &f); err != nil {
			return fmt.Errorf("reading a change: %w", err)
		}
		if err := w.show(&f); err != nil {
			return err
		}
		if len(w.ids) > 0 && len(w.ended) == len(w.ids) {
			return nil
		}
		if len(f.Intents) == 0 { // maybe there is nothing left that could change
			if err := w.check(ctx); err != nil {
				return err
			}
		}
	}
}

// check asks for those that have not ended: one that is not there, or that the filter
// leaves out, would be waited for for ever.
func (w *watching) check(ctx context.Context) error {
	for _, id := range w.ids {
		if w.ended[id] != "" {
			continue
		}
		var answer struct {
			Intent row `json:"intent"`
		}
		if _, err := w.admin.askJSON(ctx, adminRequest{path: adminRoot + id}, &answer); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		v := &answer.Intent
		if w.leavesOut("job", v.Job) || w.leavesOut("scope", v.Scope) {
			return &exit{exitNone, fmt.Errorf("%s: is of job %s, which --job and --scope leave out", id, v.jobName())}
		}
	}
	return nil
}

// leavesOut reports whether the query asks for another name than this.
func (w *watching) leavesOut(word, name string) bool {
	return w.query.Has(word) && w.query.Get(word) != name
}

func (w *watching) show(f *change) error {
	for i := range f.Intents {
		v := &f.Intents[i]
		if v.Status.Terminal() {
			w.ended[v.IntentID.String()] = v.Status
		}
		if !w.asJSON {
			w.progress.set(v, time.Now())
			continue
		}
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w.out, escapeControls(string(line))); err != nil {
			return err
		}
	}
	return nil
}

// stopped is what a watch returns that was stopped, or whose time was over, wherever it
// stood. Without ids nothing else ends it.
func (w *watching) stopped() error {
	if len(w.ids) == 0 {
		return nil
	}
	return &exit{code: exitRunning}
}

// outcome is the worst of how they ended.
func (w *watching) outcome() error {
	worst := intent.Completed
	for _, s := range w.ended {
		if exitOf(s) > exitOf(worst) {
			worst = s
		}
	}
	return endedAs(worst)
}
