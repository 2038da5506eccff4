# An image of Caddy with the intents plugin of this checkout:
#
#	docker build -f xcaddy.Dockerfile -t caddy-intents .
#	docker run -p 8080:8080 -v intents:/data -v ./Caddyfile:/etc/caddy/Caddyfile caddy-intents
#
# Intents are kept in the volume /data, as certificates are.
FROM caddy:2.11.9-builder AS builder
WORKDIR /src
COPY . .
# The version is taken from the replacement, so that nothing has to be published.
RUN xcaddy build v2.11.9 --with github.com/caddy-intents/caddy-intents@v0.0.0=.

FROM caddy:2.11.9
COPY --from=builder /src/caddy /usr/bin/caddy
