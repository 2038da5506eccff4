package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
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
		RunE:         asks(runLetters),
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
		addJSONFlag(c)
		cmd.AddCommand(c)
	}
	return cmd
}

func runLetters(cmd *cobra.Command, c *adminClient, _ []string) error {
	query := make(url.Values)
	if all, _ := cmd.Flags().GetBool("all"); all {
		query.Set("all", "true")
	}
	found, err := c.letters(cmd.Context(), query)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), map[string]any{"messages": found})
	}
	return printLetters(cmd.OutOrStdout(), found, time.Now())
}

// letters gets all messages that a query picks, page by page; without a word in it those
// that were given up.
func (c *adminClient) letters(ctx context.Context, query url.Values) ([]letter, error) {
	found := []letter{}
	query.Set("limit", strconv.Itoa(maxPage))
	for {
		var page struct {
			Messages []letter `json:"messages"`
			Next     string   `json:"next"`
		}
		if _, err := c.askJSON(ctx, adminRequest{path: adminRoot + "webhooks", query: query}, &page); err != nil {
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
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", m.ID, jobName(m.Scope, m.Job), m.EventType, ago(m.EventAt, now), m.Attempts, next,
			probe.Fit(quotedOr(m.To, "unknown"), 60), probe.Fit(m.Failure, 80))
	}
	return t.Flush()
}

// aboutLetters makes a command that does one thing to each of some messages.
func aboutLetters(use, short, method, action string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, SilenceUsage: true,
		RunE: asks(func(cmd *cobra.Command, c *adminClient, args []string) error {
			ids, err := c.lettersMeant(cmd, args)
			if err != nil {
				return err
			}
			answers, failed := []letterAnswer{}, []error(nil)
			for _, id := range ids {
				v, err := c.letter(cmd.Context(), id, adminRequest{method: method, path: action})
				if err == nil {
					answers = append(answers, v)
				}
				if err == nil && !wantsJSON(cmd) {
					err = v.print(cmd.OutOrStdout(), method)
				}
				failed = append(failed, err)
			}
			switch {
			case !wantsJSON(cmd):
			case len(args) != 1: // about one there is an object, about all others an array
				failed = append(failed, printJSON(cmd.OutOrStdout(), answers))
			case len(answers) == 1:
				failed = append(failed, printJSON(cmd.OutOrStdout(), answers[0]))
			}
			return errors.Join(failed...)
		}),
	}
}

// lettersMeant are the ids that were written or, with --dead, those of all messages that
// were given up.
func (c *adminClient) lettersMeant(cmd *cobra.Command, ids []string) ([]string, error) {
	dead := cmd.Flag("dead") != nil && cmd.Flag("dead").Value.String() == "true"
	switch {
	case dead && len(ids) > 0:
		return nil, errors.New("--dead: means all that were given up; leave it out, or the ids")
	case !dead && len(ids) == 0:
		return nil, errors.New("the ids of messages are missing; caddy intents webhooks list has them")
	case !dead:
		return ids, nil
	}
	found, err := c.letters(cmd.Context(), make(url.Values))
	for _, m := range found {
		ids = append(ids, m.ID)
	}
	return ids, err
}

// A letterAnswer is what the admin API answers about one message.
type letterAnswer struct {
	Message letter          `json:"message"`
	Event   json.RawMessage `json:"event"`
}

// letter asks something about one message, below whose place the path is.
func (c *adminClient) letter(ctx context.Context, id string, asked adminRequest) (v letterAnswer, err error) {
	asked.path = adminRoot + "webhooks/" + url.PathEscape(id) + asked.path
	if _, err = c.askJSON(ctx, asked, &v); err != nil {
		err = fmt.Errorf("%s: %w", probe.Fit(id, 100), err)
	}
	return v, err
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
