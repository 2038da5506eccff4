package caddymodule

import (
	"context"
	"encoding/json"
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
			if dead := cmd.Flag("dead"); dead != nil && dead.Changed {
				found, err := c.letters(cmd.Context(), cmd, false)
				if err != nil {
					return err
				}
				for _, m := range found {
					ids = append(ids, m.ID)
				}
			} else if len(ids) == 0 {
				return fmt.Errorf("the ids of messages are missing; caddy intents webhooks list has them")
			}
			for _, id := range ids {
				if err := c.printLetter(cmd.Context(), cmd, method, adminRoot+"webhooks/"+url.PathEscape(id)+action); err != nil {
					return fmt.Errorf("%s: %w", probe.Fit(id, 100), err)
				}
			}
			return nil
		}),
	}
}

// printLetter asks something about a message and prints it as it stands then: as a
// list has it, and with its event where it is shown.
func (c *adminClient) printLetter(ctx context.Context, cmd *cobra.Command, method, path string) error {
	var answer struct {
		Message letter          `json:"message"`
		Event   json.RawMessage `json:"event"`
	}
	if _, err := c.askJSON(ctx, cmd, method, path, nil, nil, &answer); err != nil {
		return err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	if method != http.MethodGet {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), answer.Message.ID)
		return err
	}
	if err := printLetters(cmd.OutOrStdout(), []letter{answer.Message}, time.Now()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "\n%s\n", probe.Fit(string(answer.Event), 4000))
	return err
}
