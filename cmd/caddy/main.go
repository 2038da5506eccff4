// Command caddy is Caddy with the intents plugin and all of Caddy's standard
// modules, for working on the plugin; users build theirs with xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddy-intents/caddy-intents"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() { caddycmd.Main() }
