package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/adapter"
)

func presetsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "presets [--json] [<name>]",
		Short: "List the job APIs that are described already, or print one",
		Long: `
Without a name, lists the built-in presets. With one, prints it as a job block:
every line can be written under "preset <name>" to replace it. With --json, prints
the file of the preset, which is what a preset_file of your own looks like.`,
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch w := cmd.OutOrStdout(); {
			case len(args) > 0:
				return showPreset(cmd, args[0])
			case wantsJSON(cmd):
				return json.NewEncoder(w).Encode(adapter.PresetNames())
			default:
				return listPresets(w)
			}
		},
	}
	addJSONFlag(cmd)
	return cmd
}

func listPresets(w io.Writer) error {
	for _, name := range adapter.PresetNames() {
		p, err := adapter.BuiltinPreset(name)
		if err != nil {
			return err
		}
		about, _, _ := strings.Cut(p.Doc, ". ")
		if len(p.Unverified) > 0 {
			about += " (experimental)"
		}
		if _, err := fmt.Fprintf(w, "%-28s %s\n", name, strings.TrimSuffix(about, ".")); err != nil {
			return err
		}
	}
	return nil
}

func showPreset(cmd *cobra.Command, name string) error {
	p, err := adapter.BuiltinPreset(name)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), p)
	}
	text, err := describePreset(p)
	if err != nil {
		return err
	}
	_, err = io.WriteString(cmd.OutOrStdout(), text)
	return err
}

// describePreset writes a preset as a job block, with what it is about in comments.
func describePreset(p *adapter.Preset) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", p.Doc)
	for _, source := range p.Sources {
		fmt.Fprintf(&b, "# source: %s\n", source)
	}
	for _, fact := range p.Unverified {
		fmt.Fprintf(&b, "# unverified: %s\n", fact)
	}
	j, err := jobOf(p)
	if err != nil {
		return "", err
	}
	b.WriteString(j.caddyfile())
	return b.String(), nil
}

// jobOf is the job of a preset, under the preset's name.
func jobOf(p *adapter.Preset) (*Job, error) {
	j := &Job{Name: p.Name}
	if err := caddy.StrictUnmarshalJSON(p.Job, j); err != nil {
		return nil, fmt.Errorf("preset %s: %w", p.Name, err)
	}
	return j, nil
}
