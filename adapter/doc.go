// Package adapter knows how job APIs are spoken. [Compile] takes what an operator
// wrote about one ([Spec]) and gives a [Job], which makes the requests to the
// backend and reads what its answers mean in the words of package intent. It sends
// nothing, stores nothing and knows no clock.
//
//	ReadSubmit   the answer to the submit -> job id, status URL, perhaps a first reading
//	PollRequest  the intent               -> the request for its status
//	ReadPoll     the answer to that       -> a reading, or why there is none
//	ReadFetched  the answer to a fetch    -> the reading with its result
//
// Everything a backend answers is taken for hostile: sizes, nesting, types, URLs.
// Whatever is in doubt lets the job go on. A poll too many costs little; an end that
// was none cannot be taken back.
//
// # The words
//
// Two are enough, submit and status; what is not written is inferred (auto).
//
//	submit POST /queues/{params.queue}/jobs         the request that starts a job
//	status GET /jobs/{job_id}?view=full             the request that asks how it is
//	status_url headers["operation-location"]        the status URL, as the backend gave it
//	cancel DELETE /jobs/{job_id}                    the request that cancels it
//	job_id body.job.id                              the job's id, in the answer to the submit
//	state body.status                               the backend's word for the state
//	  failed when `body.status == 'over' && body.errors > 0`   a rule, tried before the words
//	  completed done finished                       the words for a status
//	progress body.percent                           0 to 100, also as "31% complete"
//	progress fraction body.ratio                    0 to 1
//	progress count body.rows_done body.rows         how many of how many
//	message body.step                               what the job is doing
//	result body.url                                 the result, or its URL
//	result fetch GET /jobs/{job_id}/result          a request for the result
//	result fetch body.result_link                   the same, where the backend gives the URL
//	error body.error.message                        why the job did not complete
//
// # Targets and headers
//
// {job_id} and {params.<name>} stand for the job's id and for what the path of the
// submit captured. They are escaped for the path segment, the query or the header
// they stand in. An id that could lead out of its place (.., control characters) is
// refused, not repaired: it would name another job.
//
// # Expressions
//
// Expressions are CEL (https://cel.dev) over
//
//	code      the status code                          code == 422
//	headers   lower-case names, repeated ones joined   headers["x-state"]
//	body      JSON, or XML as nested maps              body.jobs[0].state
//	text      the body as it is                        text.startsWith("DONE")
//	params    what the path of the submit captured     params.queue
//	request   the body of the submit                   request.id
//
// A key that is no CEL name is written body["task-id"]. body.?a.orValue(1) and
// has(body.a) work. Integers are exact up to 64 bits; a plain path keeps any number
// as it was written, so ids are not changed by being numbers. Integers divide as
// integers: write double(body.done) / double(body.all).
//
// What is missing, null or of the wrong kind is absent, and so is whatever cannot be
// computed (1/0, int("x")): a rule does not hold, a field is not told, the poll goes
// on. Only an expression that costs too much makes an answer unreadable.
//
// In XML the root element is the first key: body.job.phase. Attributes are
// body.job["@id"], elements that repeat are a list, and the text beside attributes or
// elements is "#text". Namespaces are dropped.
//
// # How a status answer is read
//
// Rules first, in order, whatever the code. Then the code: 429 and 5xx are no answer
// at all, other codes but 2xx tell nothing about the job (404 and 410: it may be
// lost). Then a body that cannot be read, HTML above all, is unreadable, unless no
// expression looks at it. Then the state word, compared as text without regard to
// case. An unknown word means in_progress and is told; an absent one means
// in_progress. state without words knows the usual ones.
//
// # What auto knows
//
// Ids: job_id, task_id, id and the like, in any spelling, also within data, job, task,
// result; else the last segment of a status URL in a header. Status URLs:
// Azure-AsyncOperation, Operation-Location, Location, Content-Location, status_url
// and its like, _links. States: status, state, phase, task_status and the like; done
// with error or success beside it; conclusion and the like. A 202 is in progress. A
// 200 without a state word is the end only where a 202 named the status URL in a
// header or an earlier poll was answered 202, and not where progress is below 100. A
// 303 with a Location is the end, and the result is there. Progress: progress,
// percent, counts with a total, X-Progress.
//
// A state in the answer to the submit can say that the job waits or runs, but not
// that it is over: "status": "success" is there about the request, more often than
// not, and the first poll comes soon.
package adapter
