// Package offload answers requests for a job's own status URL, which clients of the
// backend have polled since before we were there.
//
// The backend decides who may ask. The first request with a set of credentials goes
// to it as it is; a readable 2xx admits these credentials to this URL for a minute
// ([Admissions]). Who is admitted is answered from the last reading, in the words of
// the backend, as long as that is no older than what the next poll would change; then
// all of them wait for one poll ([Server.Serve]). With Accept: text/event-stream they
// get the same words as they change.
//
// Whose words may go to whom: the answer to a client's own request goes back to the
// same credentials only. What others are given is the answer to a poll, which carries
// nothing of any client but what the job's config says. It is given to nobody
// whom the backend itself tells something else (comparison).
//
// Whatever is in doubt goes to the backend: an unusual request, an answer that is too
// large or in another type, anything that is not in memory (any more). That costs a
// request, and never shows a byte to the wrong client.
package offload
