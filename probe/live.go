package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
)

// maxAnswer is how much of an answer is read, as of a poll.
const maxAnswer = 1 << 20

// A Live backend is asked over HTTP. Only its host is spoken to: paths and queries
// are all that is taken of a URL, redirects are not followed, and proxies of the
// environment are not used.
type Live struct {
	Base      *url.URL      // scheme and host
	Header    http.Header   // for every request: credentials, mostly
	Timeout   time.Duration // of one request
	Transport http.RoundTripper
}

// Do implements Backend.
func (l *Live) Do(ctx context.Context, r adapter.Request) (adapter.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	target, err := url.Parse(l.Base.Scheme + "://" + l.Base.Host + r.URL)
	if err != nil || target.Host != l.Base.Host {
		return adapter.Answer{}, fmt.Errorf("%q is no path on %s", r.URL, l.Base.Host)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, target.String(), bytes.NewReader(r.Body))
	if err != nil {
		return adapter.Answer{}, fmt.Errorf("making the request: %w", err)
	}
	request.Header.Set("User-Agent", "caddy-intents")
	maps.Copy(request.Header, l.Header)
	maps.Copy(request.Header, r.Header)
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := l.transport().RoundTrip(request)
	if err != nil {
		return adapter.Answer{}, withoutURL(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	a := adapter.Answer{Code: response.StatusCode, Header: response.Header, Body: body, At: time.Now()}
	if err != nil || len(body) > maxAnswer {
		a.Body, a.Cut = body[:min(len(body), maxAnswer)], true
	}
	return a, nil
}

func (l *Live) transport() http.RoundTripper {
	if l.Transport == nil {
		l.Transport = &http.Transport{}
	}
	return l.Transport
}

// withoutURL drops what may be a secret from an error.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// Wait implements Backend.
func (l *Live) Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
