package offload

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-intents/caddy-intents/intent"
)

// Keys make names of texts that nobody can make, or make out, without the secret. MACs
// are the names under all secrets that are in use.
type Keys interface {
	MAC(purpose string, parts ...string) string
	MACs(purpose string, parts ...string) []string
}

// makerPurpose separates makers from all else that is made of the secret.
const makerPurpose = "maker"

// Maker is who has an intent made by a request, by a submit or for a stream: the
// backend's answers to the same credentials are about the same job, even if a job's id is
// one of many by that name. It is kept with the intent, so that its maker is known after
// a restart and to every replica. Each intent has another name for the same maker: what
// is stored does not show which intents are of one client.
func (s *Server) Maker(id intent.ID, r *http.Request, who Asker) string {
	return s.Keys.MAC(makerPurpose, s.makerOf(id, r, &who)...)
}

// made reports whether the client's own request started the job, with the same
// credentials. An owner can be coarser than what the backend tells its users apart by.
func (q *question) made(in *intent.Intent) bool {
	return in.Maker != "" && slices.Contains(q.server.Keys.MACs(makerPurpose, q.server.makerOf(in.ID, q.r, q.who)...), in.Maker)
}

// notOfMaker are headers that a client sends with its submit and not with its polls:
// browsers send Origin with each POST, and pages a word against forgery, which is worth
// nothing without the session that it belongs to.
var notOfMaker = []string{"Idempotency-Key", "Prefer", "Origin", "X-Csrf-Token", "X-Csrftoken", "X-Xsrf-Token"}

// makerOf is what names a maker: credentials, but without the address of a trusted proxy,
// of which there can be several before us.
func (s *Server) makerOf(id intent.ID, r *http.Request, who *Asker) []string {
	parts := []string{id.String(), s.Scope, strings.ToLower(r.Host), who.Scheme, who.Client, who.User, who.owner(), ""}
	if r.TLS != nil {
		parts[len(parts)-1] = r.TLS.ServerName
	}
	return append(parts, Credentials(r, notOfMaker...)...)
}
