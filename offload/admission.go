package offload

import (
	"container/list"
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
)

// admittedFor is how long a yes of the backend holds. Somebody who loses a right goes
// on seeing what the job says for at most so long.
const admittedFor = time.Minute

// Admissions are many: one for each client of each job that is polled. They are
// bounded; who is forgotten asks the backend once more.
const (
	maxAdmissions     = 100_000
	maxAdmissionBytes = 64 << 20
)

// An admission is the backend's yes to one set of credentials, with the answer that
// it came in, which is for these credentials alone.
type admission struct {
	until time.Time
	id    intent.ID // of the job's intent then; zero if it had none
	job   string    // whose words it was read with
	own   kept
	mine  bool // they started the job, or own its intent
	maker bool // they started the job: polls that carry their headers ask as them
	told  bool // they may know of the intent
	// apart: polls are sent as from another address, and a backend that decides by it
	// may have a job by the same id for each. Only own may be given.
	apart   bool
	between *comparison // of own with polls; nil where no comparison is needed
	// reused is the ended intent of another job by the same name, if the answer shows
	// that this is not its job.
	reused intent.ID
}

// A kept is an answer that can be given again.
type kept struct {
	*adapter.Answer
	asked   time.Time   // when the request began
	request http.Header // of that request, as far as the answer varies by it; nil for a poll of ours
	copied  bool        // it answers a poll with headers of the submit
	ends    bool        // it says that the job is over
}

// Admissions remember whom the backend has let ask for what. They outlive a reload.
// The zero value is not usable; see [NewAdmissions].
type Admissions struct {
	key []byte

	mu      sync.Mutex
	entries map[credential]*list.Element // of *admitted
	order   list.List                    // most recently used first
	bytes   int
	asking  map[credential]chan struct{} // closed when the backend has answered one who asks for all with its credentials
}

type admitted struct {
	by credential
	*admission
}

// NewAdmissions returns an empty memory with a key of its own.
func NewAdmissions() *Admissions {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	return &Admissions{key: key, entries: make(map[credential]*list.Element), asking: make(map[credential]chan struct{})}
}

// get returns the admission of a credential, nil if it has none at now. It is not to
// be changed.
func (a *Admissions) get(by credential, now time.Time) *admission {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.entries[by]
	if e == nil {
		return nil
	}
	if found := e.Value.(*admitted); now.Before(found.until) {
		a.order.MoveToFront(e)
		return found.admission
	}
	a.drop(e)
	return nil
}

// ask lets one of those who have the same credentials ask the backend; answered is to
// be called when it has. The others get what is closed then, and no answered.
func (a *Admissions) ask(by credential) (over <-chan struct{}, answered func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if asked := a.asking[by]; asked != nil {
		return asked, nil
	}
	asked := make(chan struct{})
	a.asking[by] = asked
	return asked, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.asking, by)
		close(asked)
	}
}

// asked returns what is closed when who asks for all of a credential has been answered,
// nil if nobody does.
func (a *Admissions) asked(by credential) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asking[by]
}

// put admits a credential, in place of what it was admitted by before.
func (a *Admissions) put(by credential, new *admission) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.entries[by]; e != nil {
		a.drop(e)
	}
	a.entries[by] = a.order.PushFront(&admitted{by, new})
	a.bytes += new.weight()
	for len(a.entries) > maxAdmissions || a.bytes > maxAdmissionBytes {
		a.drop(a.order.Back())
	}
}

// revoke takes an admission back.
func (a *Admissions) revoke(by credential) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.entries[by]; e != nil {
		a.drop(e)
	}
}

func (a *Admissions) drop(e *list.Element) {
	dropped := a.order.Remove(e).(*admitted)
	a.bytes -= dropped.weight()
	delete(a.entries, dropped.by)
}

func (a *admission) weight() int {
	n := len(a.own.Body) + engine.HeadSize(a.own.Header) + engine.HeadSize(a.own.request)
	if a.between != nil && a.between.before != nil {
		n += len(a.between.before.Body)
	}
	return n
}
