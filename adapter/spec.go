package adapter

import (
	"fmt"
	"net/http"
)

// A Spec is what an operator writes about one job API. Only submit is required,
// together with status or a backend that names its status URL itself; everything
// left out is inferred (auto). Expressions are CEL; see the package documentation.
type Spec struct {
	// The request that starts a job: its method (default POST) and its path.
	Submit Route `json:"submit"`

	// The request that asks how a job is doing (default method GET). Its target
	// contains {job_id}, unless the status URL comes from the backend: then the
	// target may be left out, and what is written here gives method and headers.
	Status *Endpoint `json:"status,omitempty"`

	// An expression over the answer to the submit that gives the status URL. If
	// status has a target as well, that one is used when the backend's URL is
	// absent or refused. Default: the target of status, else auto.
	StatusURL string `json:"status_url,omitempty"`

	// The request that cancels a job (default method DELETE). Without a target it
	// goes to the status URL. Default: jobs cannot be canceled at the backend.
	Cancel *Endpoint `json:"cancel,omitempty"`

	// An expression over the answer to the submit that gives the job's id.
	// Default: auto.
	JobID string `json:"job_id,omitempty"`

	// How to read a job's state in a status answer. Default: auto.
	State *State `json:"state,omitempty"`

	// How to read a job's progress. Default: auto.
	Progress *Progress `json:"progress,omitempty"`

	// An expression that gives a text about what the job is doing. Default: auto.
	Message string `json:"message,omitempty"`

	// Where the result of a completed job is. Default: the whole final answer.
	Result *Result `json:"result,omitempty"`

	// An expression that says why a job did not complete. Default: auto.
	Error string `json:"error,omitempty"`
}

// A Route is a method and a path with captures.
type Route struct {
	// The HTTP method. Default: POST.
	Method string `json:"method,omitempty"`

	// The path, as the handler sees it. {params.<name>} stands for one whole path
	// segment and can be used in the other targets, in headers and as params.<name>.
	Path string `json:"path"`
}

// An Endpoint is a request to the backend about a job that exists.
type Endpoint struct {
	// The HTTP method. Its default depends on what the request is for.
	Method string `json:"method,omitempty"`

	// Path and query, with {job_id} and {params.<name>}, which are escaped for
	// where they stand.
	Target string `json:"target,omitempty"`

	// Headers to send besides those that every poll carries. Values may contain
	// {job_id} and {params.<name>}. Default: none.
	Header http.Header `json:"header,omitempty"`
}

// A State says how to read a job's state.
type State struct {
	// An expression that gives the backend's word for the state, or "auto" to look
	// for it in the usual places. Without one, the rules alone decide. It is
	// compared as text, without regard to case and to spaces around it.
	Expr string `json:"expr,omitempty"`

	// Rules are tried first, in this order, on any answer whatever its code; the
	// first one that holds decides. Default: none.
	Rules []Rule `json:"rules,omitempty"`

	// The backend's words by the status they mean: in_progress, completed, failed,
	// canceled or timed_out. A word that is not here means in_progress, and is
	// warned of. Default: the words that many job APIs use (those of auto).
	Words map[string][]string `json:"words,omitempty"`
}

// A Rule gives a status to the answers for which a condition holds.
type Rule struct {
	// The status: in_progress, completed, failed, canceled or timed_out.
	Status string `json:"status"`

	// The condition, an expression that is true or false. What is absent makes it
	// false.
	When string `json:"when"`
}

// A Progress says how to read a job's progress, in exactly one of three forms.
type Progress struct {
	// An expression that gives 0 to 100, as a number or a text that begins with one.
	Percent string `json:"percent,omitempty"`

	// An expression that gives 0 to 1. CEL divides integers as integers: write
	// double(body.done) / double(body.all).
	Fraction string `json:"fraction,omitempty"`

	// An expression that gives how many units are done. Needs total.
	Done string `json:"done,omitempty"`

	// An expression that gives how many units there are. Needs done.
	Total string `json:"total,omitempty"`
}

// A Result says where the result of a completed job is, in exactly one of three
// forms.
type Result struct {
	// An expression over the final status answer. An absolute URL, or a text that
	// begins with a slash, is passed on as the result's URL; anything else is the
	// result.
	Expr string `json:"expr,omitempty"`

	// A request that fetches the result once, when the job has completed (default
	// method GET). Without headers of its own it carries those of status.
	Fetch *Endpoint `json:"fetch,omitempty"`

	// An expression over the final status answer that gives the URL to fetch,
	// instead of a target of fetch.
	FetchURL string `json:"fetch_url,omitempty"`
}

// Options are what Compile needs to know besides the job.
type Options struct {
	// Hosts (host, or host:port) that absolute URLs given by the backend may name,
	// besides the request's own Host, loopback and the upstreams. Only path and
	// query of such a URL are used.
	AllowHosts []string

	// Addresses of the backend, host:port.
	Upstreams []string
}

// A SpecError says which part of a Spec cannot be used, and what to write instead.
type SpecError struct {
	Field string // in the words of the config: "state rule 2", "status header Accept"
	Err   error
}

func (e *SpecError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *SpecError) Unwrap() error { return e.Err }

func specErr(field, format string, args ...any) error {
	return &SpecError{Field: field, Err: fmt.Errorf(format, args...)}
}
