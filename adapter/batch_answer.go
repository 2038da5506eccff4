package adapter

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A BatchReading is what the answer to a batch said.
type BatchReading struct {
	// Outcome is Readable if the answer could be taken apart. Unreadable and
	// Unavailable are then those of every job that was asked for.
	Outcome Outcome

	// Refused says that the backend will not answer such a request. It tells nothing
	// about any job.
	Refused bool

	Reason string // why the answer was not taken apart; short and without payload

	// Readings has one reading for each intent, as ReadPoll would give, or nil for a
	// job that is not in the answer, or not clearly: it is to be asked for alone
	// before anything is concluded.
	Readings []*PollReading
}

// ReadBatch reads the answer to a batch request about the intents' jobs. An element
// is read as the answer to a poll is, with the code and the headers of the whole.
func (j *Job) ReadBatch(ins []*intent.Intent, a Answer) BatchReading {
	r := BatchReading{Outcome: Readable, Readings: make([]*PollReading, len(ins))}
	var elements map[string]any
	if r.Outcome, r.Reason = byCode(a.Code); r.Outcome == 0 {
		r.Outcome = Readable
		var err error
		if elements, err = j.batch.read(a, ins); err != nil {
			r.Outcome, r.Reason = Unreadable, err.Error()
		}
	} else if r.Outcome != Unavailable || a.Code == http.StatusNotImplemented {
		// A 404 too: it is about the batch, and about none of the jobs.
		r.Outcome, r.Refused = Unreadable, true
		return r
	}
	for i, in := range ins {
		if r.Outcome != Readable {
			r.Readings[i] = &PollReading{Outcome: r.Outcome, Reason: r.Reason, RetryAfter: a.retryAfter(), Memory: in.Memory}
		} else if element := elements[in.JobID]; element != nil {
			said := j.readView(in, elementView(a, element))
			r.Readings[i] = &said
		}
	}
	return r
}

// elementView shows one element as if it had been the whole answer. An ETag is that
// of the whole: it says nothing about the element.
func elementView(a Answer, element any) *view {
	return &view{Answer: Answer{Code: a.Code, Header: a.Header, At: a.At}, element: true, decoded: true, kind: jsonBody, body: element}
}

// read finds the elements of the jobs that were asked for, by their id. A job with
// two of them has none: which one holds is not known.
func (b *batch) read(a Answer, ins []*intent.Intent) (map[string]any, error) {
	whole := &view{Answer: a}
	if !whole.decode().structured() {
		return nil, fmt.Errorf("batch: %s", whole.problem)
	}
	all, err := b.all(whole)
	if err != nil {
		return nil, err
	}
	found := make(map[string]any, len(ins))
	for _, in := range ins {
		found[in.JobID] = nil
	}
	if b.keyed == keyedByID {
		byID, _ := all.(map[string]any)
		for id := range found {
			found[id] = asElement(id, byID[id])
		}
		return found, nil
	}
	s := sorter{batch: b, whole: a, found: found, twice: make(map[string]bool)}
	if err := s.sort(all); err != nil {
		return nil, err
	}
	for id := range s.twice {
		found[id] = nil
	}
	return found, nil
}

func (b *batch) all(whole *view) (any, error) {
	if b.elements == nil {
		return whole.body, nil
	}
	return b.elements.eval(whole)
}

// asElement makes an element of what stands where one is expected: a bare word is
// the state of the job.
func asElement(id string, v any) any {
	if text, ok := scalarText(v); ok {
		return map[string]any{"id": id, "state": text}
	}
	return v
}

// A sorter finds out whose the elements of a list are.
type sorter struct {
	*batch
	whole Answer
	found map[string]any // by the ids that were asked for
	twice map[string]bool
	seen  int
}

func (s *sorter) sort(all any) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	if byState, ok := all.(map[string]any); ok && s.keyed == keyedByState {
		for _, state := range slices.Sorted(maps.Keys(byState)) {
			if err := s.list(ctx, byState[state], state); err != nil {
				return err
			}
		}
		return nil
	}
	if s.keyed != "" {
		return nil
	}
	return s.list(ctx, all, "")
}

// list goes through a list, whose elements are all in a state if one is given. XML
// has no lists of one.
func (s *sorter) list(ctx context.Context, v any, state string) error {
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	for _, element := range list {
		if s.seen++; s.seen > maxElements {
			return fmt.Errorf("batch: more than %d elements", maxElements)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("batch: %w", errCut)
		}
		if err := s.add(element, state); err != nil {
			return err
		}
	}
	return nil
}

func (s *sorter) add(element any, state string) error {
	id, err := s.idOf(element)
	if err != nil {
		return err
	}
	before, asked := s.found[id]
	switch {
	case !asked:
		return nil
	case before != nil:
		s.twice[id] = true
	case state != "":
		element = inState(id, element, state)
	}
	s.found[id] = element
	return nil
}

func (s *sorter) idOf(element any) (string, error) {
	if id, ok := scalarText(element); ok {
		return id, nil
	}
	v := elementView(s.whole, element)
	if s.id == nil {
		return autoID(v).value, nil
	}
	return s.id.text(v)
}

// inState adds the state that an element stands under, unless it tells one itself.
func inState(id string, element any, state string) any {
	object, ok := element.(map[string]any)
	if !ok {
		return map[string]any{"id": id, "state": state}
	}
	if _, told := object["state"]; told {
		return object
	}
	object = maps.Clone(object)
	object["state"] = state
	return object
}
