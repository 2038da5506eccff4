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
	Submit Route `json:"submit,omitzero"`

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

	// More values to capture, by name: expressions over the answer to the submit.
	// They are {params.<name>} in targets, headers and bodies, and params.<name> in
	// expressions. What is absent is not captured. Default: none.
	Params map[string]string `json:"params,omitempty"`

	// An expression over each status answer that gives the URL of the next poll. As
	// long as it is absent the last one told counts, at first the status URL.
	// Default: all polls go to the status URL.
	NextURL string `json:"next_url,omitempty"`

	// A second hop: what to poll once the first status answers name it. Default:
	// there is one hop.
	Then *Hop `json:"then,omitempty"`

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

	// Ways to ask for the status that spare requests. Default: none of them.
	Poll *Poll `json:"poll,omitempty"`

	// The request that finds a job by its idempotency key, for `on_uncertain lookup`.
	// Default: none.
	Lookup *Lookup `json:"lookup,omitempty"`
}

// A Hop is the second half of a job whose API hands it on: the first status answers
// are about a place in a queue, say, and then name the run to ask about. It has words
// of its own for everything that is read or sent once it has begun.
type Hop struct {
	// An expression over an answer of the first hop that gives the status URL of the
	// second one, which begins when it is there. It or a target of status is required.
	StatusURL string `json:"status_url,omitempty"`

	// The request that asks how the second hop is doing (default method GET). Its
	// target contains {params.<name>} of this hop; the hop begins when they are
	// there. Headers are those of the first hop if status is left out.
	Status *Endpoint `json:"status,omitempty"`

	// More values to capture, by name: expressions over the answer of the first hop
	// that begins this one. Default: none.
	Params map[string]string `json:"params,omitempty"`

	// The request that cancels the job in this hop. Default: it cannot be canceled.
	Cancel *Endpoint `json:"cancel,omitempty"`

	// How to read the job's state in a status answer of this hop. Default: auto.
	State *State `json:"state,omitempty"`

	// How to read its progress in this hop. Default: auto.
	Progress *Progress `json:"progress,omitempty"`

	// An expression that gives a text about what the job is doing in this hop.
	// Default: auto.
	Message string `json:"message,omitempty"`

	// Where the result is when this hop has completed. Default: the whole final answer.
	Result *Result `json:"result,omitempty"`

	// An expression that says why the job did not complete in this hop. Default: auto.
	Error string `json:"error,omitempty"`
}

// A Route is the request that starts a job: a method and a path with captures, and
// what to know of its answer before anything else is read in it.
type Route struct {
	// The HTTP method. Default: POST.
	Method string `json:"method,omitempty"`

	// The path, as the handler sees it. {params.<name>} stands for one whole path
	// segment and can be used in the other targets, in headers and as params.<name>.
	Path string `json:"path"`

	// A condition under which an answer that looks like a job is a refusal: there is
	// no intent then. Default: none.
	RefusedWhen string `json:"refused_when,omitempty"`

	// A condition under which the answer is the final status answer already: it is
	// read as one, and the intent ends at once. Such an answer needs no id. Default:
	// how a job ended is for a poll to say.
	FinalWhen string `json:"final_when,omitempty"`
}

// An Endpoint is a request to the backend about a job that exists.
type Endpoint struct {
	// The HTTP method. Its default depends on what the request is for.
	Method string `json:"method,omitempty"`

	// Path and query, with {job_id} and {params.<name>}, which are escaped for
	// where they stand. A target that is nothing but {params.<name>} is a URL that
	// the backend gave.
	Target string `json:"target,omitempty"`

	// Headers to send besides those that every poll carries. Values may contain
	// {job_id} and {params.<name>}. Default: none.
	Header http.Header `json:"header,omitempty"`

	// The body to send. {job_id} and {params.<name>} are escaped for JSON, or for a
	// form if the Content-Type says so; outside of quotes they have to be numbers.
	// With a body the default method is POST, and the default Content-Type
	// application/json. Default: none.
	Body string `json:"body,omitempty"`

	// Of cancel only: the codes that say that the job is or will be canceled.
	// Default: 2xx and 303.
	Accept []int `json:"accept,omitempty"`

	// Of cancel only: the codes that say that there is nothing to cancel (any more).
	// Default: 400, 404, 405, 409 and 410.
	Over []int `json:"over,omitempty"`
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
	// The status: in_progress, completed, failed, canceled or timed_out. Or retry:
	// this answer is none, ask again. Or gone: the backend does not know the job
	// (any more).
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

	// A condition over what was fetched under which the job has failed after all.
	// Default: what was fetched says nothing about the state.
	FailedWhen string `json:"failed_when,omitempty"`
}

// A Poll says how jobs can be asked for with fewer requests, in one of two ways.
type Poll struct {
	// One request for many jobs. Jobs that are due at about the same time share it,
	// if they have the same Host and scheme. Default: none.
	Batch *Batch `json:"batch,omitempty"`

	// The query that makes a status request wait at the backend until something has
	// changed, such as "?timeout=30". It is added to the status URL. The time in it, a
	// duration or a number (of seconds; from 1000 on, of milliseconds), is added to the
	// poll's timeout; if there is none, the timeout is four times the poll's. At most
	// half of the in_flight polls wait. Default: none.
	Wait string `json:"wait,omitempty"`
}

// A Batch is one request for the states of many jobs. An element of its answer is
// read as a status answer of the one job is: it is the body in all expressions of
// the job. A job that is not in the answer is asked for alone.
type Batch struct {
	// The HTTP method. Default: GET, or POST if there is a body.
	Method string `json:"method,omitempty"`

	// Path and query. {job_ids} is a list with commas; {job_ids*}, in a query, repeats
	// its parameter for each id. Without either, and without one in the body, the
	// backend is taken to list the jobs that it knows. Ids with a comma are asked for
	// alone where the list has commas.
	Target string `json:"target"`

	// Headers to send besides those that every poll carries. Default: those of status.
	Header http.Header `json:"header,omitempty"`

	// A body, JSON if no Content-Type is given. {job_ids} is an array of texts.
	// Default: none.
	Body string `json:"body,omitempty"`

	// How many jobs one request may be about, 2 to 1000. Default: 100.
	Max int `json:"max,omitempty"`

	// An expression that gives the elements in the answer, a list or a map.
	// Default: the body.
	Elements string `json:"elements,omitempty"`

	// An expression that gives the job's id in an element. Default: auto.
	ID string `json:"id,omitempty"`

	// What the keys are if the elements are a map: `id`, or `state` with a list of ids
	// or of elements under each. An element that is only an id or only a state is read
	// as {"id":...,"state":...}, and one under a state that has no state of its own
	// gets it. Default: the elements are a list.
	Keyed string `json:"keyed,omitempty"`
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
