package adapter

import (
	"strings"

	"github.com/caddy-intents/caddy-intents/intent"
)

// What auto knows: where job APIs put things, and the words they use. Names are
// compared without case, dashes, underscores and spaces, so that jobId, job_id and
// Job-ID are one. A word that means one thing here and another there ("ready",
// "stopped", "terminated", "ok") is in no list: it is unknown, which is loud and
// harmless, where a wrong guess would end an intent.
var (
	jobIDNames    = ranked("jobid", "jobuuid", "taskid", "taskuid", "taskuuid", "operationid", "executionid", "dagrunid", "runid", "batchid", "exportid", "importid", "promptid", "statementhandle", "queryid")
	plainIDNames  = ranked("id", "uuid", "uid")
	bareIDNames   = ranked("job", "task", "requestid")
	idHolders     = ranked("data", "job", "task", "result", "operation", "run", "execution", "response")
	urlNames      = ranked("statusurl", "statusuri", "statusquerygeturi", "statementstatusurl", "jobstatusurl", "taskstatusurl", "pollurl", "pollingurl", "pollinguri", "monitorurl", "monitoruri", "checkurl", "operation")
	urlHolders    = ranked("urls", "links")
	linkNames     = ranked("status", "get", "poll", "monitor", "self")
	stateNames    = ranked("status", "state", "jobstatus", "jobstate", "taskstatus", "taskstate", "runstatus", "runstate", "runtimestatus", "lifecyclestate", "lifecyclestatus", "phase", "exportstatus", "provisioningstate")
	outcomeNames  = ranked("conclusion", "outcome", "resultstate", "completionstatus", "finalstatus")
	doneNames     = ranked("done", "finished", "complete", "completed", "isdone", "isfinished", "iscomplete", "iscompleted")
	readyNames    = ranked("ready")
	successNames  = ranked("success", "successful", "succeeded", "issuccess", "ok")
	holders       = ranked("data", "job", "task", "operation", "run", "execution", "attributes", "properties", "metadata", "meta", "info", "status", "state", "progress")
	jobHolders    = ranked("data", "job", "task", "operation", "run", "execution")
	percentNames  = ranked("progress", "percent", "percentage", "percentcomplete", "percentagecomplete", "percentcompleted", "percentdone", "progresspercent", "progresspercentage", "progresspct", "pct")
	fractionNames = ranked("fraction", "progressfraction", "fractioncomplete")
	doneCounts    = ranked("current", "done", "completed", "processed", "finished")
	totalCounts   = ranked("total", "totalcount")
	messageNames  = ranked("message", "statusmessage", "statusmsg", "statemessage", "progressmessage", "statustext", "step", "currentstep", "stage")
	failureNames  = ranked("error", "err", "exception", "failure", "failurecause", "errormessage")
	errorNames    = ranked("error", "errors", "err", "errormessage", "exception", "failure", "failurecause", "failurereason", "failedreason", "reason", "message", "detail", "details", "statusmessage", "statemessage")
)

// statusHeaders are where a backend names the status URL, the most specific first.
var statusHeaders = []string{"Azure-Asyncoperation", "Operation-Location", "Location", "Content-Location"}

// commonWords are states that mean the same wherever they are used.
var commonWords = func() map[string]intent.Status {
	words := make(map[string]intent.Status)
	for status, list := range map[intent.Status]string{
		intent.InProgress: "pending queued queueing running inprogress progress processing started starting submitted accepted created " +
			"scheduled scheduling waiting enqueued inqueue working active executing initializing initialising initialized preparing validating " +
			"validatingfiles finalizing retry retrying received requested new open notstarted suspended paused held hold delayed deferred " +
			"blocked dispatched provisioning building uploading exporting importing persisting canceling cancelling aborting stopping " +
			"terminating completing configuring waitingforresource waitingforretry",
		intent.Completed: "completed complete succeeded success successful done finished jobcomplete processcompleted processsucceeded exported",
		intent.Failed: "failed failure error errored exception crashed dead faulted unsuccessful fatal rejected executorerror systemerror " +
			"nodefail outofmemory bootfail internalerror startupfailure processfailed jobfailed",
		intent.Canceled: "canceled cancelled aborted revoked dismissed",
		intent.TimedOut: "timedout timeout expired deadlineexceeded",
	} {
		for word := range strings.FieldsSeq(list) {
			words[word] = status
		}
	}
	return words
}()

// waitingWords say that nothing has happened to a job yet; some backends say the same
// of a job that they do not know (Celery's PENDING).
var waitingWords = ranked("pending", "queued", "waiting", "enqueued", "inqueue", "notstarted")

// waits tells a word for a job that waits for its turn.
func waits(word string) bool {
	_, ok := waitingWords[squeeze(strings.TrimSpace(word))]
	return ok
}

// envelopeWords can be about the request ("status": "success") as well as about
// the job.
var envelopeWords = []string{"success", "successful"}

func ranked(names ...string) map[string]int {
	ranks := make(map[string]int, len(names))
	for i, name := range names {
		ranks[name] = i
	}
	return ranks
}

// rank is that of a name, whether it is written as in the list or with what squeeze takes
// out. Auto asks for every key of every answer, often: nothing is allocated for it.
func rank(ranks map[string]int, name string) (int, bool) {
	var squeezed [32]byte // longer than any name in a list
	n := 0
	for _, c := range []byte(name) {
		switch {
		case c == ' ' || c == '-' || c == '_':
			continue
		case c >= 0x80:
			r, ok := ranks[squeeze(name)]
			return r, ok
		case n == len(squeezed):
			return 0, false
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		}
		squeezed[n] = c
		n++
	}
	r, ok := ranks[string(squeezed[:n])]
	return r, ok
}

// squeeze makes names comparable.
func squeeze(s string) string {
	changes := func(r rune) bool { return r == ' ' || r == '-' || r == '_' || r >= 'A' && r <= 'Z' }
	if !strings.ContainsFunc(s, changes) {
		return s
	}
	return strings.ToLower(strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' || r == '_' {
			return -1
		}
		return r
	}, s))
}
