package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-intents/caddy-intents/probe"
)

func statsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:          "stats [--json]",
		Short:        "Show how it stands with the stores, the backends and their jobs",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: asks(func(cmd *cobra.Command, c *adminClient, _ []string) error {
			var answer struct {
				Stores []storeStats `json:"stores"`
			}
			if _, err := c.askJSON(cmd.Context(), adminRequest{path: adminRoot + "stats"}, &answer); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			for i := range answer.Stores {
				if err := answer.Stores[i].print(cmd.OutOrStdout(), time.Now()); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	addAdminFlags(cmd)
	addJSONFlag(cmd)
	return cmd
}

func (v *storeStats) print(w io.Writer, now time.Time) error {
	fmt.Fprintf(w, "store %s\n", probe.Fit(v.Store, maxShown))
	if k := v.Kept; k != nil {
		fmt.Fprintf(w, "  %d running, %d ended, %d webhook messages", k.Running, k.Ended, k.Messages)
		if k.Size > 0 {
			fmt.Fprintf(w, "; %s, of which %s are free", bytesText(k.Size), bytesText(k.Free))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "  %d streams", v.Observers)
	if v.Draining {
		fmt.Fprint(w, ", draining: no new ones")
	}
	fmt.Fprint(w, "\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "JOB\tACTIVE\tUNCHANGED\tBREAKER\tIN LINE\tUNDELIVERED\tBACKEND\tIN FLIGHT")
	for _, b := range v.Backends {
		for i := range b.Jobs {
			fmt.Fprintf(t, "%s\t%s\t%d of %d\n", b.Jobs[i].cells(now), b.short(), b.Running, b.InFlight)
		}
	}
	for i := range v.Parked {
		fmt.Fprintf(t, "%s\tnot in the config; they wait for their deadline\t-\n", v.Parked[i].cells(now))
	}
	return t.Flush()
}

// cells are what a table has of a job.
func (j *jobStats) cells(now time.Time) string {
	active := 0
	for _, n := range j.Active {
		active += n
	}
	unchanged, breaker := "-", quotedOr(string(j.Breaker), "-")
	if active > 0 {
		unchanged = ago(now.Add(-time.Duration(j.Unchanged*float64(time.Second))), now)
	}
	if !j.DownSince.IsZero() {
		breaker += " for " + ago(j.DownSince, now)
	}
	if active == 0 && j.Parked > 0 { // nobody holds them
		active = j.Parked
	}
	return fmt.Sprintf("%s\t%d\t%s\t%s\t%d\t%d", jobName(j.Scope, j.Job), active, unchanged, breaker, j.InLine, j.Undelivered)
}

// short is enough of a backend's name to see which jobs share it.
func (b *backendStats) short() string {
	const enough = 20
	return probe.Fit(b.Backend[:min(len(b.Backend), enough)], enough)
}

func drainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain [--undo] [--json]",
		Short: "End all streams and let none begin, before this Caddy is taken out of a cluster",
		Long: `
Ends all streams of the running Caddy, so that clients come back where the load balancer
leads them, and lets no new one begin. Everything else goes on. With --undo, streams
may begin again.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: asks(func(cmd *cobra.Command, c *adminClient, _ []string) error {
			method := http.MethodPost
			if undo, _ := cmd.Flags().GetBool("undo"); undo {
				method = http.MethodDelete
			}
			var answer struct {
				Draining bool `json:"draining"`
				Streams  int  `json:"streams"`
			}
			if _, err := c.askJSON(cmd.Context(), adminRequest{method: method, path: adminRoot + "drain"}, &answer); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			state := "streams may begin"
			if answer.Draining {
				state = "draining: no stream may begin"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s; %d are open\n", state, answer.Streams)
			return err
		}),
	}
	addAdminFlags(cmd)
	cmd.Flags().Bool("undo", false, "Let streams begin again")
	addJSONFlag(cmd)
	return cmd
}
