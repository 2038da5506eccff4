package caddymodule

import (
	"fmt"
	"strings"

	"github.com/caddy-intents/caddy-intents/adapter"
)

// presetsDocument is docs/presets.md.
func presetsDocument() (string, error) {
	var b strings.Builder
	b.WriteString(`# Presets

<!-- Made by ` + "`go generate ./caddymodule`" + ` of adapter/presets. Do not edit. -->

A job API that is described already. Every line you write under ` + "`preset`" + ` replaces the preset's line of that word:

` + "```caddyfile" + `
job container {
	preset lxd
	submit POST /1.0/instances
	deadline 1h
}
` + "```" + `

- Lines in the blocks of ` + "`submit`, `status`, `cancel` and `poll`" + ` are replaced one by one: ` + "`status { header Authorization ... }`" + ` keeps the preset's
  path. A path replaces the path together with its method.
- ` + "`state`" + ` with an expression replaces the preset's. Without one it adds to it: its rules are tried first, its words mean what it says.
- ` + "`preset_file <path>`" + ` loads a preset of your own, a JSON file like those that ` + "`caddy intents presets --json <name>`" + ` prints:
  ` + "`{\"doc\": \"...\", \"job\": {...}}`" + `, where ` + "`job`" + ` is a job as ` + "`caddy adapt`" + ` prints it, without a name.

Experimental presets contain facts that could not be checked against a public source; they are listed.
`)
	for _, name := range adapter.PresetNames() {
		p, err := adapter.BuiltinPreset(name)
		if err != nil {
			return "", err
		}
		if err := writePreset(&b, p); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func writePreset(b *strings.Builder, p *adapter.Preset) error {
	fmt.Fprintf(b, "\n## %s\n\n", p.Name)
	if len(p.Unverified) > 0 {
		fmt.Fprintf(b, "**Experimental**: unverified are %s.\n\n", strings.Join(p.Unverified, "; "))
	}
	fmt.Fprintf(b, "%s\n\n", p.Doc)
	j, err := jobOf(p)
	if err != nil {
		return err
	}
	if p.Name == "auto" { // has no lines
		return nil
	}
	fmt.Fprintf(b, "```\n%s```\n", j.caddyfile())
	for i, source := range p.Sources {
		if i == 0 {
			b.WriteString("\nAfter:\n\n")
		}
		link, rest, _ := strings.Cut(source, " ")
		fmt.Fprintf(b, "- <%s>%s\n", link, strings.TrimRight(" "+rest, " "))
	}
	return nil
}
