package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/probe"
)

func showCommand() *cobra.Command {
	return aboutIntent(&cobra.Command{
		Use:   "show <id>",
		Short: "Show all that is known of an intent, and what its backend last answered",
		Long: `
Shows how an intent stands, when its backend was last asked, what it answered and why
that was read as it was, which line to add if it used a word that the config does not
map, and what has happened so far. The last answers are in the memory of the process
that polls; where there is none, poll brings one.`,
	}, func(cmd *cobra.Command, c *adminClient, id string) error {
		return c.print(cmd, adminRequest{path: adminRoot + id})
	})
}

func pollCommand() *cobra.Command {
	return aboutIntent(&cobra.Command{
		Use:   "poll <id>",
		Short: "Ask the backend about an intent now",
		Long: `
Asks the backend about an intent without waiting until that is due, and shows what came
of it. Of a submit that waits in a queue it is the next try to deliver it. The limits of the backend and its Retry-After count all the same: if the answer
is not there within 15 seconds the exit code is 13.`,
	}, func(cmd *cobra.Command, c *adminClient, id string) error {
		return c.print(cmd, adminRequest{method: http.MethodPost, path: adminRoot + id + "/poll"})
	})
}

func cancelCommand() *cobra.Command {
	cmd := aboutIntent(&cobra.Command{
		Use:   "cancel [--reason <text>] <id>",
		Short: "Cancel the job of an intent at its backend, and with it the intent",
		Long: `
Cancels the job at the backend, as the cancel line of its config says, and ends the
intent as CANCELED. If the backend refuses, or does not answer, nothing changes and the
exit code is 5.`,
	}, func(cmd *cobra.Command, c *adminClient, id string) error {
		said := map[string]string{"reason": cmd.Flag("reason").Value.String()}
		return c.print(cmd, adminRequest{method: http.MethodPost, path: adminRoot + id + "/cancel", body: said})
	})
	cmd.Flags().String("reason", "", "Why, for those who observe it")
	return cmd
}

func endCommand() *cobra.Command {
	cmd := aboutIntent(&cobra.Command{
		Use:   "end --reason <text> [--status canceled|failed] [--category client|gateway] <id>",
		Short: "End an intent without a word to its backend",
		Long: `
Ends an intent whose job is known to be over, or of no more interest. The backend is not
asked, and its job goes on if it runs. Observers get the reason, and the error code
ended_by_operator.`,
	}, func(cmd *cobra.Command, c *adminClient, id string) error {
		said := make(map[string]string)
		for _, name := range []string{"reason", "status", "category"} {
			if v := cmd.Flag(name).Value.String(); v != "" {
				said[name] = v
			}
		}
		if said["reason"] == "" {
			return fmt.Errorf(`--reason is missing: say why, for those who observe the intent, for example --reason "lost at the backend"`)
		}
		return c.print(cmd, adminRequest{method: http.MethodPost, path: adminRoot + id + "/end", body: said})
	})
	f := cmd.Flags()
	f.String("reason", "", "Why, for those who observe it")
	f.String("status", "canceled", "How it ends: canceled or failed")
	f.String("category", "client", "Whose error it is: client or gateway")
	return cmd
}

// aboutIntent makes a command that is about one intent.
func aboutIntent(cmd *cobra.Command, run func(cmd *cobra.Command, c *adminClient, id string) error) *cobra.Command {
	cmd.Args, cmd.SilenceUsage = cobra.ExactArgs(1), true
	cmd.RunE = asks(func(cmd *cobra.Command, c *adminClient, args []string) error {
		id, err := intent.ParseID(args[0])
		if err != nil {
			return fmt.Errorf("%q is no intent's id; caddy intents list has them", args[0])
		}
		return run(cmd, c, id.String())
	})
	addAdminFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

// print asks something about an intent and prints how it stands then.
func (c *adminClient) print(cmd *cobra.Command, asked adminRequest) error {
	var answer struct {
		Delivery bool            `json:"delivery"`
		Intent   json.RawMessage `json:"intent"`
	}
	code, err := c.askJSON(cmd.Context(), asked, &answer)
	if err != nil {
		return err
	}
	var v detail
	if err := json.Unmarshal(answer.Intent, &v); err != nil {
		return fmt.Errorf("reading the answer of the admin endpoint at %s: %w", c.address, err)
	}
	if wantsJSON(cmd) {
		err = printJSON(cmd.OutOrStdout(), answer.Intent)
	} else {
		err = v.print(cmd.OutOrStdout(), time.Now())
	}
	what := "poll"
	if answer.Delivery {
		what = "try"
		cmd.PrintErrln("The submit was not delivered yet: the next try to deliver it was brought forward, and no poll was made.")
	}
	if err == nil && code == http.StatusAccepted {
		return &exit{exitRunning, fmt.Errorf("the %s is not over yet; it comes %s", what, ahead(v.NextPollAt, time.Now()))}
	}
	return err
}

// print writes an intent for a terminal.
func (v *detail) print(w io.Writer, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	say := func(name, format string, args ...any) {
		if text := probe.Fit(fmt.Sprintf(format, args...), maxShown); text != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, text)
		}
	}
	say("intent", "%s", v.IntentID)
	say("job", "%s, %s at the backend", v.jobName(), quotedOr(v.JobID, "without a name"))
	say("status", "%s%s", v.Status, v.since(now))
	say("progress", "%s", strings.Trim(v.percent()+"  "+v.Message, "- "))
	if v.Error != nil {
		say("error", "%s (%s)", wordsOf(v.Error), v.Error.Category)
	}
	say("result", "%s", v.ResultURL)
	say("result", "%s", v.Result)
	say("created", "%s ago by %s, for %s", ago(v.CreatedAt, now), quotedOr(v.Client, "somebody"), quotedOr(v.Host, "no host"))
	if v.Status.Terminal() {
		say("removed", "%s", ahead(v.ExpiresAt, now))
	} else {
		v.sayPolling(say, now)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	v.printLastPoll(w, now)
	v.printUnknown(w)
	return v.printEvents(w)
}

func (v *detail) since(now time.Time) string {
	if v.Status.Terminal() {
		return ", " + ago(v.UpdatedAt, now) + " ago"
	}
	return ", nothing new for " + ago(v.UnchangedSince, now)
}

func (v *detail) sayPolling(say func(name, format string, args ...any), now time.Time) {
	say("deadline", "%s", ahead(v.DeadlineAt, now))
	say("asked at", "%s", v.StatusURL)
	say("next poll", "%s", ahead(v.NextPollAt, now))
	if v.PollFailures > 0 {
		say("failing", "%d polls in a row, since %s", v.PollFailures, ago(v.FailingSince, now))
	}
	if !v.DownSince.IsZero() {
		say("backend", "down for %s: it is asked by one probe at a time", ago(v.DownSince, now))
	}
	say("waits for", "%s", v.Waiting)
	say("unreadable", "%s", v.Unreadable)
	say("missing", "%s", v.Missing)
	if !v.QueuedTill.IsZero() {
		say("delivery", "%d tries so far; given up %s", v.Attempts, ahead(v.QueuedTill, now))
	}
	if v.Cancel != "" {
		say("cancel", "%s", v.Cancel)
	}
	switch {
	case v.Parked:
		say("held", "by nobody who could poll it: job %s is in no config; it waits for its deadline, or for caddy intents end", v.jobName())
	case !v.Holder.Here:
		say("held", "by another process, or by nobody yet")
	case v.Holder.Doing == "":
		say("held", "here")
	default:
		say("held", "here, %s", strings.ReplaceAll(string(v.Holder.Doing), "_", " "))
	}
	watched := ""
	if v.Watchers.Until.After(now) {
		watched = ", polled for them " + ahead(v.Watchers.Until, now)
	}
	say("watchers", "%d streams%s", v.Watchers.Streams, strings.Replace(watched, "in ", "for another ", 1))
}

func (v *detail) printLastPoll(w io.Writer, now time.Time) {
	p := v.LastPoll
	switch {
	case p == nil && v.Status.Terminal():
		return
	case p == nil:
		fmt.Fprintf(w, "\nNo answer is remembered; caddy intents poll %s brings one.\n", v.IntentID)
		return
	}
	fmt.Fprintf(w, "\nLast asked %s ago, at %s:\n", ago(p.At, now), p.At.Format(time.RFC3339))
	line := func(format string, args ...any) {
		fmt.Fprintf(w, "  %s\n", probe.Fit(fmt.Sprintf(format, args...), 1200))
	}
	switch {
	case p.Code == 0:
		line("no answer: %s", p.Err)
	case p.Shared:
		line("%d, together with other intents; poll asks about this one alone", p.Code)
	default:
		line("%d %s", p.Code, p.Body)
	}
	if p.BodyCut {
		line("(there is more of it)")
	}
	if !p.ConfirmedAt.IsZero() {
		line("unchanged when it was asked again %s ago", ago(p.ConfirmedAt, now))
	}
	if p.Reason != "" {
		line("%s: %s", p.Outcome, p.Reason)
	}
	for _, r := range p.Decided {
		line("read by: %s", strings.TrimPrefix(r.Line+" is "+r.Value, " is "))
	}
}

func (v *detail) printUnknown(w io.Writer) {
	u := v.Unknown
	if u == nil {
		return
	}
	fmt.Fprintf(w, "\nThe config does not map the state %s; it is taken for in_progress. ", probe.Fit(fmt.Sprintf("%q", u.Word), maxShown))
	if u.Add == "" || !printable(u.Add) || !printable(u.Within) {
		fmt.Fprintf(w, "It cannot be written as a word: in the block of job %s, add a rule to the state, such as completed when and an expression that holds for it.\n",
			probe.Fit(u.Job, 60))
		return
	}
	fmt.Fprintf(w, "In the block of job %s, add one of:\n\n  %s {\n", probe.Fit(u.Job, 60), u.Within)
	name, word, _ := strings.Cut(u.Add, " ")
	for _, status := range append([]string{name}, u.Or...) {
		fmt.Fprintf(w, "      %s %s\n", status, word)
	}
	fmt.Fprint(w, "  }\n\nand run caddy reload: running intents are read by the new config.\n")
}

func (v *detail) printEvents(w io.Writer) error {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range v.Events {
		e := &v.Events[i]
		line := fmt.Sprintf("%s\t%d\t%s\t%s", e.At.UTC().Format("2006-01-02 15:04:05"), e.Seq, strings.TrimPrefix(string(e.Type), "intent."), eventNote(e))
		fmt.Fprintln(t, strings.TrimRight(line, "\t"))
	}
	return t.Flush()
}

// eventNote says in a line what an event tells.
func eventNote(e *intent.Event) string {
	v := row{Status: intent.InProgress, Progress: e.Details.Progress, Message: e.Details.Message,
		UnknownState: e.Details.UnknownState, Waiting: e.Details.Waiting, Error: e.Details.Error}
	return strings.TrimSpace(strings.TrimPrefix(v.percent(), "-") + "  " + v.note(e.At))
}
