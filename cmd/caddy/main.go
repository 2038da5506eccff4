// Command caddy is Caddy with the intents plugin and all of Caddy's standard
// modules: what `xcaddy build --with github.com/caddy-intents/caddy-intents`
// makes, for working on the plugin itself.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() { caddycmd.Main() }
