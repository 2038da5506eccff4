package caddymodule

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/observe"
)

// What a request to the admin API says: in its query, whose words each place knows, and
// in its body.

// readQuery refuses what nobody would look at: a filter with a typing error picks all.
// Only ids can be several.
func readQuery(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, observe.BadRequest("the query: " + err.Error())
	}
	known = append(known, "store")
	for _, name := range slices.Sorted(maps.Keys(q)) {
		switch values := q[name]; {
		case !slices.Contains(known, name):
			return nil, observe.BadRequest(fmt.Sprintf("%q is unknown here; there is %s", name, strings.Join(known, ", ")))
		case len(values) > 1 && name != "id":
			return nil, observe.BadRequest(fmt.Sprintf("%s: there are %d; write one", name, len(values)))
		case slices.Contains(values, ""):
			return nil, observe.BadRequest(name + ": it is empty; write a value, or leave it out")
		}
	}
	return q, nil
}

// maxAdminBody bounds what an operator says, in bytes.
const maxAdminBody = 64 << 10

// readBody reads the JSON object that a request may come with.
func readBody(r *http.Request, into any) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAdminBody+1))
	switch {
	case err != nil:
		return observe.BadRequest("the body broke off")
	case len(body) > maxAdminBody:
		return &observe.Problem{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: "the body is too long"}
	case len(strings.TrimSpace(string(body))) == 0:
		return nil
	}
	if err := caddy.StrictUnmarshalJSON(body, into); err != nil {
		return observe.BadRequest("the body: " + err.Error())
	}
	return nil
}

// How long a page of the admin API is unless it is said, and at most.
const (
	usualPage = 100
	maxPage   = 1000
)

// readAge reads how long ago something is to have been.
func readAge(q url.Values, name string) (time.Time, error) {
	said := q.Get(name)
	if said == "" {
		return time.Time{}, nil
	}
	d, err := caddy.ParseDuration(said)
	if err != nil || d < 0 {
		return time.Time{}, observe.BadRequest(fmt.Sprintf("%s: %q is no duration; write for example 10m", name, said))
	}
	return time.Now().Add(-d), nil
}

// readBool reads a word that is false unless it is said.
func readBool(q url.Values, name string) (bool, error) {
	if !q.Has(name) {
		return false, nil
	}
	b, err := strconv.ParseBool(q.Get(name))
	if err != nil {
		return false, observe.BadRequest(fmt.Sprintf("%s: %q is not true or false", name, q.Get(name)))
	}
	return b, nil
}

// readLimit reads how long a page may be.
func readLimit(q url.Values) (int, error) {
	said := q.Get("limit")
	if said == "" {
		return usualPage, nil
	}
	n, err := strconv.Atoi(said)
	if err != nil || n < 1 || n > maxPage {
		return 0, observe.BadRequest(fmt.Sprintf("limit: %q is no number from 1 to %d", said, maxPage))
	}
	return n, nil
}
