package caddymodule

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/probe"
)

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [--status <status>] [--older <duration>] [--unchanged <duration>] [--unknown[=<word>]] [--json]",
		Short: "List the intents of the running Caddy, youngest first",
		Long: `
Lists intents, youngest first. The stuck ones are named by their age, by how long the
backend has said nothing new of them, or by what is the matter:

  caddy intents list --status in_progress --older 10m
  caddy intents list --unchanged 1h
  caddy intents list --unknown
  caddy intents list --waiting=backend`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         asks(runList),
	}
	addAdminFlags(cmd)
	f := cmd.Flags()
	f.String("scope", "", "Only those of the handler with this name")
	f.String("job", "", "Only those of this job")
	f.String("status", "", "Only those of this status, for example in_progress")
	f.Bool("running", false, "Only those that have not ended")
	f.String("older", "", "Only those made longer ago, for example 10m")
	f.String("unchanged", "", "Only those that have not ended, of which the backend has said nothing new for so long")
	f.String("waiting", "", "Only those that wait for this, for example --waiting=backend; without a value, for anything")
	f.String("unknown", "", "Only those whose backend used this word that the config does not map; without a value, any word")
	f.Lookup("waiting").NoOptDefVal, f.Lookup("unknown").NoOptDefVal = "*", "*"
	f.Int("limit", usualPage, "At most so many")
	addJSONFlag(cmd)
	return cmd
}

func runList(cmd *cobra.Command, c *adminClient, _ []string) error {
	f := cmd.Flags()
	query := make(url.Values)
	for _, name := range []string{"scope", "job", "status", "older", "unchanged", "waiting", "unknown"} {
		if v := f.Lookup(name).Value.String(); v != "" {
			query.Set(name, v)
		}
	}
	if running, _ := f.GetBool("running"); running {
		query.Set("running", "true")
	}
	limit, _ := f.GetInt("limit")
	if limit < 1 {
		return fmt.Errorf("--limit: %d is no number of intents", limit)
	}
	rows, more, err := c.list(cmd.Context(), query, limit)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), map[string]any{"intents": rows, "more": more})
	}
	if err := printRows(cmd.OutOrStdout(), rows, time.Now()); err != nil {
		return err
	}
	if more {
		cmd.PrintErrf("There are more; say so with --limit.\n")
	}
	return nil
}

// list gets so many intents, page by page, and tells whether there may be more.
func (c *adminClient) list(ctx context.Context, query url.Values, limit int) (rows []row, more bool, err error) {
	rows = []row{}
	for {
		query.Set("limit", strconv.Itoa(min(limit-len(rows), maxPage)))
		var page struct {
			Intents []row      `json:"intents"`
			Next    *intent.ID `json:"next"`
		}
		if _, err := c.askJSON(ctx, adminRequest{path: adminRoot, query: query}, &page); err != nil {
			return nil, false, err
		}
		rows = append(rows, page.Intents...)
		if page.Next == nil || len(rows) >= limit {
			return rows, page.Next != nil, nil
		}
		query.Set("before", page.Next.String())
	}
}

func printRows(w io.Writer, rows []row, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "INTENT\tJOB\tSTATUS\tAGE\tUNCHANGED\tPROGRESS\tNOTE")
	for i := range rows {
		v := &rows[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.IntentID, v.jobName(), v.Status,
			ago(v.CreatedAt, now), ago(v.UnchangedSince, now), v.percent(), v.note(now))
	}
	return t.Flush()
}

func (v *row) jobName() string { return jobName(v.Scope, v.Job) }

func jobName(scope, job string) string {
	if scope == defaultName {
		return probe.Fit(job, 40)
	}
	return probe.Fit(scope+"/"+job, 40)
}

func (v *row) percent() string {
	if v.Progress == nil {
		return "-"
	}
	return strconv.FormatFloat(*v.Progress, 'f', 0, 64) + " %"
}

// note says what is the matter, or what the job last said.
func (v *row) note(now time.Time) string {
	var notes []string
	say := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if v.Error != nil {
		say("%s", wordsOf(v.Error))
	}
	if v.UnknownState != "" && !v.Status.Terminal() {
		say("unknown state %q", v.UnknownState)
	}
	switch {
	case v.Parked:
		say("its job is in no config: it waits for its deadline")
	case !v.DownSince.IsZero():
		say("backend down for %s", ago(v.DownSince, now))
	case v.Waiting != "":
		say("waits for: %s", v.Waiting)
	}
	if v.PollFailures > 0 {
		say("%d polls failed, since %s", v.PollFailures, ago(v.FailingSince, now))
	}
	if len(notes) == 0 && v.Message != "" {
		say("%s", v.Message)
	}
	return probe.Fit(strings.Join(notes, "; "), 100)
}

// wordsOf is an error's code, and its message if there is one: a cancel needs no reason.
func wordsOf(e *intent.Error) string {
	if e.Message == "" {
		return e.Code
	}
	return e.Code + ": " + e.Message
}
