package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-intents/caddy-intents/probe"
)

func webhooksCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhooks",
		Short: "List, show, send again and discard webhook messages that were given up",
	}
	listing := &cobra.Command{
		Use:          "list [--all] [--json]",
		Short:        "List the messages that were given up",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         exits(func(cmd *cobra.Command, _ []string) error { return runLetters(cmd) }),
	}
	listing.Flags().Bool("all", false, "Those too that are on their way")
	show := aboutLetters("show <id>...", "Show messages with their events", http.MethodGet, "")
	replay := aboutLetters("replay [--dead] <id>...", "Send messages again that were given up", http.MethodPost, "/replay")
	discard := aboutLetters("discard [--dead] <id>...", "Forget messages", http.MethodDelete, "")
	for _, c := range []*cobra.Command{replay, discard} {
		c.Flags().Bool("dead", false, "All that were given up, instead of some ids")
	}
	for _, c := range []*cobra.Command{listing, show, replay, discard} {
		addAdminFlags(c)
		c.Flags().Bool("json", false, "Print JSON")
		cmd.AddCommand(c)
	}
	return cmd
}

func runLetters(cmd *cobra.Command) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	all, _ := cmd.Flags().GetBool("all")
	found, err := c.letters(cmd.Context(), cmd, all)
	if err != nil {
		return err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		return printJSON(cmd.OutOrStdout(), map[string]any{"messages": found})
	}
	return printLetters(cmd.OutOrStdout(), found, time.Now())
}

// letters gets all messages, page by page.
func (c *adminClient) letters(ctx context.Context, cmd *cobra.Command, all bool) ([]letter, error) {
	found := []letter{}
	query := url.Values{"limit": {fmt.Sprint(maxPage)}, "all": {fmt.Sprint(all)}}
	for {
		var page struct {
			Messages []letter `json:"messages"`
			Next     string   `json:"next"`
		}
		if _, err := c.askJSON(ctx, cmd, http.MethodGet, adminRoot+"webhooks", query, nil, &page); err != nil {
			return nil, err
		}
		found = append(found, page.Messages...)
		if page.Next == "" {
			return found, nil
		}
		query.Set("after", page.Next)
	}
}

func printLetters(w io.Writer, found []letter, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MESSAGE\tJOB\tEVENT\tAGE\tTRIES\tNEXT\tTO\tFAILURE")
	for _, m := range found {
		next := "given up"
		if !m.Dead {
			next = ahead(m.DueAt, now)
		}
		name := row{Scope: m.Scope, Job: m.Job}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", m.ID, name.jobName(), m.EventType, ago(m.EventAt, now), m.Attempts, next,
			probe.Fit(quotedOr(m.To, "unknown"), 60), probe.Fit(m.Failure, 80))
	}
	return t.Flush()
}

// aboutLetters makes a command that does one thing to each of some messages.
func aboutLetters(use, short, method, action string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, SilenceUsage: true,
		RunE: exits(func(cmd *cobra.Command, ids []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			dead := cmd.Flag("dead") != nil && cmd.Flag("dead").Value.String() == "true"
			switch {
			case dead && len(ids) > 0:
				return fmt.Errorf("--dead: means all that were given up; leave it out, or the ids")
			case dead:
				found, err := c.letters(cmd.Context(), cmd, false)
				if err != nil {
					return err
				}
				for _, m := range found {
					ids = append(ids, m.ID)
				}
			case len(ids) == 0:
				return fmt.Errorf("the ids of messages are missing; caddy intents webhooks list has them")
			}
			about := func(id string) (v letterAnswer, err error) {
				if _, err = c.askJSON(cmd.Context(), cmd, method, adminRoot+"webhooks/"+url.PathEscape(id)+action, nil, nil, &v); err != nil {
					err = fmt.Errorf("%s: %w", probe.Fit(id, 100), err)
				}
				return v, err
			}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return printLettersJSON(cmd.OutOrStdout(), ids, !dead && len(ids) == 1, about)
			}
			var failed []error
			for _, id := range ids {
				v, err := about(id)
				if err == nil {
					err = v.print(cmd.OutOrStdout(), method)
				}
				failed = append(failed, err)
			}
			return errors.Join(failed...)
		}),
	}
}

// A letterAnswer is what the admin API answers about one message.
type letterAnswer struct {
	Message letter          `json:"message"`
	Event   json.RawMessage `json:"event"`
}

// printLettersJSON prints what could be done, as an array unless it is about one alone.
func printLettersJSON(w io.Writer, ids []string, alone bool, about func(id string) (letterAnswer, error)) error {
	answers, failed := []letterAnswer{}, []error(nil)
	for _, id := range ids {
		v, err := about(id)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		answers = append(answers, v)
	}
	switch {
	case !alone:
		failed = append(failed, printJSON(w, answers))
	case len(answers) == 1:
		failed = append(failed, printJSON(w, answers[0]))
	}
	return errors.Join(failed...)
}

// print writes a message as it stands then: its id alone if something was done to it, or
// as a list has it, with its event.
func (v *letterAnswer) print(w io.Writer, method string) error {
	if method != http.MethodGet {
		_, err := fmt.Fprintln(w, v.Message.ID)
		return err
	}
	if err := printLetters(w, []letter{v.Message}, time.Now()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", probe.Fit(string(v.Event), 4000))
	return err
}
