package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A headWatch is told of the head of an answer before it is passed on, once.
type headWatch struct {
	*caddyhttp.ResponseWriterWrapper
	seen func(code int, h http.Header)
	told bool
}

func watchHead(w http.ResponseWriter, seen func(code int, h http.Header)) *headWatch {
	return &headWatch{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, seen: seen}
}

func (w *headWatch) WriteHeader(code int) {
	if code >= 200 && !w.told {
		w.told = true
		w.seen(code, w.Header())
	}
	w.ResponseWriterWrapper.WriteHeader(code)
}

func (w *headWatch) Write(p []byte) (int, error) {
	if !w.told {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriterWrapper.Write(p)
}
