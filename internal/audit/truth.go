package audit

import (
	"slices"

	"github.com/caddy-intents/caddy-intents/intent"
)

// truthful: what an intent ended as can be told from the ledgers of others.
func truthful(b *book, fault func(string, ...any)) {
	canceled := make(map[string]bool)
	for _, t := range b.told {
		if t.Word == Canceled || t.Word == Unsent {
			canceled[t.Intent] = true
			if s := b.stored[t.Intent]; s != nil && s.Intent.Status != intent.Canceled {
				fault("%s was told that %s is canceled, and it is %s", t.Client, t.Intent, s.Intent.Status)
			}
		}
	}
	for id, s := range b.stored {
		if s.Intent.Status.Terminal() {
			b.checkEnd(id, s, fault)
		}
	}
}

func (b *book) checkEnd(id string, s *Stored, fault func(string, ...any)) {
	in, job := s.Intent, b.jobs[s.Intent.JobID]
	why := intent.Error{}
	if in.Error != nil {
		why = *in.Error
	}
	wrong := func(expected string) {
		fault("%s ended as %s (%s), and %s; its job said %q: %s", id, in.Status, why.Code, expected, job.Said, statuses(s.Events))
	}
	switch {
	case in.Status == intent.Completed && job.Said != intent.Completed:
		wrong("the backend did not say so")
	case in.Status == intent.Completed:
	case in.Error == nil:
		wrong("there is no reason")
	case in.Status == intent.TimedOut && why.Category == intent.ByDeadline && in.Updated.Before(in.Deadline):
		wrong("its deadline was later")
	case why.Code == intent.CodeJobLost && !job.Lost:
		wrong("the backend knows the job")
	case in.Status == intent.Failed && in.JobID != "" && why.Category == intent.ByBackend && job.Said != intent.Failed:
		wrong("the backend did not say so")
	case in.Status == intent.Canceled && job.Said == intent.Failed && b.tookCancel(in.JobID): // what fails then was canceled
	case in.Status == intent.Canceled && why.Category == intent.ByBackend && job.Said != intent.Canceled:
		wrong("the backend did not say so")
	}
}

// tookCancel reports whether the backend accepted a cancel of a job.
func (b *book) tookCancel(job string) bool {
	return slices.ContainsFunc(b.perJob[job], func(e Entry) bool {
		return e.Asked.Kind == Cancels && e.Asked.Code >= 200 && e.Asked.Code < 300
	})
}
