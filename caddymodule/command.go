package caddymodule

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "intents",
		Short: "Durable intents and event streams in front of a job API",
		Long: `
Tools for the intents plugin, which turns a job API that answers 202 and is
polled into durable intents with one event stream each.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(proxyCommand(), probeCommand(), presetsCommand(), backupCommand(), compactCommand(), moveAsideCommand(),
				listCommand(), showCommand(), watchCommand(), pollCommand(), cancelCommand(), endCommand(), drainCommand(), statsCommand(), webhooksCommand(), observeCommand(), dashboardCommand())
		},
	})
}

// requestFlag splits "[<method>] <path>".
func requestFlag(name, text string) (method, target string, err error) {
	words := strings.Fields(text)
	if len(words) == 2 && isMethod(words[0]) {
		method, words = words[0], words[1:]
	}
	switch len(words) {
	case 0:
		return "", "", nil
	case 1:
		return method, words[0], nil
	}
	return "", "", fmt.Errorf(`--%s: %q is not a request; write "<METHOD> <path>"`, name, text)
}
