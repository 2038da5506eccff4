package adapter

import (
	"encoding/json"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A memory is what a job API makes one remember from one poll to the next. It is
// kept as Intent.Memory: a small JSON text with a version, so that a release reads
// what an earlier one has stored.
type memory struct {
	Version int    `json:"v,omitempty"`
	Done    bool   `json:"done,omitempty"` // a 200 that tells no state means that the job is done
	Ran     bool   `json:"ran,omitempty"`  // the job was seen in a state that is past waiting
	Next    string `json:"next,omitempty"` // where to poll, if an answer said so
	ETag    string `json:"etag,omitempty"` // of the last answer that was read
	Spec    string `json:"spec,omitempty"` // the spec that read it: another one may read it otherwise
	Then    *begun `json:"then,omitempty"` // the second hop, if it has begun
}

// A begun is a second hop under way.
type begun struct {
	URL    string            `json:"url"`
	Params map[string]string `json:"params,omitempty"`
	Memory memory            `json:"memory,omitzero"`
}

const memoryVersion = 1

// plainDone is what the first release kept instead of JSON.
const plainDone = "200 is done"

// recall reads a Memory. What cannot be read is forgotten: it only saves polls.
func recall(text string) memory {
	var m memory
	switch {
	case text == "":
	case text == plainDone:
		m.Done = true
	case json.Unmarshal([]byte(text), &m) != nil || m.Version > memoryVersion:
		return memory{}
	}
	return m
}

// text is m as Intent.Memory, "" if there is nothing to remember.
func (m memory) text() string {
	m.Version = 0
	if m == (memory{}) {
		return ""
	}
	m.Version = memoryVersion
	return string(encodeJSON(m))
}

// A stage is where an intent's job is spoken to: by which hop, and what is known
// there.
type stage struct {
	job    *Job
	in     *intent.Intent // as the hop sees it
	memory memory         // of the hop
	whole  memory         // of the intent
	text   string         // the same as it is kept
	second bool
}

// stageOf finds the hop that the intent is in. One that the config does not have
// any more is not gone into again.
func (j *Job) stageOf(in *intent.Intent) stage {
	m := recall(in.Memory)
	if m.Then == nil || j.then == nil {
		return stage{job: j, in: in, memory: m, whole: m, text: in.Memory}
	}
	inner := *in
	inner.StatusURL, inner.Params = m.Then.URL, m.Then.Params
	return stage{job: j.then.job, in: &inner, memory: m.Then.Memory, whole: m, text: in.Memory, second: true}
}

// remember puts the memory of the hop back into that of the intent.
func (s *stage) remember(m memory) string {
	switch {
	case m == s.memory:
		return s.text
	case !s.second:
		return m.text()
	}
	then := *s.whole.Then
	then.Memory = m
	whole := s.whole
	whole.Then = &then
	return whole.text()
}

// url is where the hop is polled.
func (s *stage) url() string {
	if s.memory.Next != "" {
		return s.memory.Next
	}
	return s.in.StatusURL
}
