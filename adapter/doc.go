// Package adapter knows how job APIs are spoken. [Compile] takes what an operator
// wrote about one ([Spec]) and gives a [Job], which makes the requests to the
// backend and reads what its answers mean in the words of package intent. It sends
// nothing, stores nothing and knows no clock.
//
//	ReadSubmit   the answer to the submit -> job id, status URL, perhaps a first reading
//	PollRequest  the intent               -> the request for its status
//	ReadPoll     the answer to that       -> a reading, or why there is none
//	ReadFetched  the answer to a fetch    -> the reading with its result
//	BatchRequest several intents          -> one request for all their states
//	ReadBatch    the answer to that       -> a reading for each, or that it has to be asked alone
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
// More words, for APIs that need them:
//
//	submit POST /jobs {
//	  refused when `size(body.errors) > 0`          a 2xx that is a refusal: there is no job
//	  final when `has(body.rows)`                   the answer is the final status answer already
//	}
//	status POST /rpc {                              any method, with
//	  header X-Target Jobs.Get                      headers
//	  body {"method":"get","id":"{job_id}"}         and a body
//	}
//	cancel POST /jobs/{job_id}/stop {
//	  accept 202                                    codes that mean that it is (or will be) canceled
//	  over 404 409                                  codes that mean that there is nothing to cancel
//	}
//	param shard body.shard                          one more value of the answer to the submit
//	next_url body.next                              where the next poll goes, in each status answer
//	state body.status {
//	  retry when `code == 500`                      this answer is none: ask again
//	  gone when `body.error == 'unknown'`           the backend does not know the job (any more)
//	}
//	result fetch GET /jobs/{job_id}/result {
//	  failed when `code == 422`                     what is fetched can say that the job has failed
//	}
//	then {                                          a second hop, with words of its own for all above
//	  status_url body.run.url                       begins when this is there
//	}
//
// # Targets and headers
//
// {job_id} and {params.<name>} stand for the job's id and for what the path of the
// submit, or a param, captured. They are escaped for the path segment, the query, the
// header or the body they stand in. An id that could lead out of its place (..,
// control characters) is refused, not repaired: it would name another job. In a JSON
// body a placeholder stands between quotes, or is replaced by nothing but a number.
//
// A target that is nothing but {params.<name>}, of a param, is a URL that the backend
// gave: it has to name the backend, as a status URL has.
//
// # Expressions
//
// Expressions are CEL (https://cel.dev) over
//
//	code      the status code                          code == 422
//	headers   lower-case names, repeated ones joined   headers["x-state"]
//	body      JSON, or XML as nested maps              body.jobs[0].state
//	text      the body as it is                        text.startsWith("DONE")
//	params    what the submit's path or param captured params.queue
//	request   the body of the submit                   request.id
//
// A key that is no CEL name is written body["task-id"]. body.?a.orValue(1) and
// has(body.a) work, and regex.extract(headers.location, '/jobs/([^/]+)') cuts a part
// out of a text. Integers are exact up to 64 bits; a plain path keeps any number
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
// at all, 304 is no change, 404 and 410 say that the backend does not know the job,
// other codes but 2xx tell nothing about it. Then a body that cannot be read, HTML above all, is unreadable, unless no
// expression looks at it. Then the state word, compared as text without regard to
// case. An unknown word means in_progress and is told; an absent one means
// in_progress. state without words knows the usual ones.
//
// An ETag is sent back with the next poll, unless the spec has changed since.
//
// A job that was in a state past waiting and then is in one of waiting (pending,
// queued, waiting, enqueued, in_queue, not_started) may be one that the backend does not know any
// more: that is what Celery says of such. Like a 404 it counts as gone only when it
// lasts. Where jobs are put back into a queue for long, a rule says so: what a rule
// says is never taken for that.
//
// With then the first hop does not end the job by a word, only by a rule; it can fail
// in it. What the hop is, and where the next poll goes, is in Intent.Memory.
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
// 303 with a Location is the end, and the result is there. No code makes the answer to
// a submit a final one: a 200 without an id can be anything. Progress: progress,
// percent, counts with a total, X-Progress.
//
// A state in the answer to the submit can say that the job waits or runs, but not
// that it is over: "status": "success" is there about the request, more often than
// not, and the first poll comes soon.
package adapter
