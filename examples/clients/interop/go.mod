module github.com/caddy-intents/caddy-intents/examples/clients/interop

go 1.26

require github.com/tmaxmax/go-sse v0.12.0
