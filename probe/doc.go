// Package probe learns how a job API is spoken by running one job. It sends the
// submit, polls until the job has ended and a little longer, and tells at each step
// what was read and why ([Report]). What it learned is a Spec: every line of it was
// tried on the answers that were seen, and reads them as they were read.
//
// A [Backend] answers: a [Live] one over HTTP, which speaks to one host and follows
// no redirect, or a [Replay] of captured exchanges.
package probe
