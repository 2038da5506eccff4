package adapter

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

//go:embed presets/*.json
var presetFiles embed.FS

// A Preset is a job API that is described already: a job to start from.
type Preset struct {
	Name string `json:"-"`

	// What it is for, and what is left to write. Required.
	Doc string `json:"doc"`

	// Where the facts are from. Default: none.
	Sources []string `json:"sources,omitempty"`

	// What is in it without a source. A preset that has any is experimental.
	Unverified []string `json:"unverified,omitempty"`

	// The job, as config writes it in JSON: a Spec, and what else a job has.
	// Its submit can be left out. Required.
	Job json.RawMessage `json:"job"`
}

// PresetNames lists the built-in presets.
func PresetNames() []string {
	var names []string
	entries, _ := presetFiles.ReadDir("presets") // embedded: it is there
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// BuiltinPreset is the built-in preset of that name.
func BuiltinPreset(name string) (*Preset, error) {
	if !slices.Contains(PresetNames(), name) {
		return nil, specErr("preset", "%q is unknown; known are: %s", name, strings.Join(PresetNames(), ", "))
	}
	data, err := presetFiles.ReadFile("presets/" + name + ".json")
	if err != nil {
		return nil, fmt.Errorf("reading preset %s: %w", name, err)
	}
	return ParsePreset(name, data)
}

// ParsePreset reads a preset from its file's content. What its job says is checked
// when the job is compiled.
func ParsePreset(name string, data []byte) (*Preset, error) {
	p := &Preset{Name: name}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(p); err != nil {
		return nil, specErr("preset", "%s: %w", name, err)
	}
	if dec.More() {
		return nil, specErr("preset", "%s: something follows its end", name)
	}
	job, err := fieldsOf(p.Job)
	if err != nil {
		return nil, specErr("preset", `%s: "job": %w`, name, err)
	}
	for _, word := range []string{"name", "preset", "preset_file"} {
		if _, ok := job[word]; ok {
			return nil, specErr("preset", "%s: a preset has no %s: leave it out", name, word)
		}
	}
	return p, nil
}

// Under puts the preset under a job that was written: every line written replaces
// the preset's line of that word. What has a block is merged line by line: a
// header of its own name, a word of poll, a rule or word of state. A target
// replaces the target together with its method.
func (p *Preset) Under(written json.RawMessage) (json.RawMessage, error) {
	job, err := fieldsOf(p.Job)
	if err != nil {
		return nil, fmt.Errorf("reading preset %s: %w", p.Name, err)
	}
	lines, err := fieldsOf(written)
	if err != nil {
		return nil, fmt.Errorf("reading the job: %w", err)
	}
	if lines["state"] != nil && job["state"] == nil {
		job["state"] = json.RawMessage(`{"expr":"auto"}`)
	}
	if err := merge(job, lines, mergedWords); err != nil {
		return nil, err
	}
	return json.Marshal(job)
}

// fields are a JSON object whose values nobody has looked into.
type fields map[string]json.RawMessage

func fieldsOf(data json.RawMessage) (fields, error) {
	var f fields
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	if f == nil {
		return nil, errors.New("it is no object")
	}
	return f, nil
}

// A merger changes lower into what it and upper mean together.
type merger func(lower, upper fields) error

// mergedWords are the words of a job that are merged, not replaced.
var mergedWords = map[string]merger{
	"submit": mergeRequest,
	"status": mergeRequest,
	"cancel": mergeRequest,
	"state":  mergeState,
	"poll":   mergeEach,
	"params": mergeEach,
}

func mergeEach(lower, upper fields) error { return merge(lower, upper, nil) }

// merge puts upper's values over lower's; those of some names by their merger.
func merge(lower, upper fields, mergers map[string]merger) error {
	for name, value := range upper {
		merged := mergers[name]
		if merged == nil || lower[name] == nil {
			lower[name] = value
			continue
		}
		under, err := fieldsOf(lower[name])
		if err != nil {
			return fmt.Errorf("%s of the preset: %w", name, err)
		}
		over, err := fieldsOf(value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := merged(under, over); err != nil {
			return err
		}
		if lower[name], err = json.Marshal(under); err != nil {
			return err
		}
	}
	return nil
}

// mergeRequest keeps method and target together, for they are one line.
func mergeRequest(lower, upper fields) error {
	if string(upper["path"]) == `""` { // a submit that was not written
		delete(upper, "path")
	}
	for _, line := range []string{"method", "path", "target"} {
		if upper[line] != nil {
			delete(lower, "method")
			delete(lower, "path")
			delete(lower, "target")
			break
		}
	}
	return merge(lower, upper, map[string]merger{"header": mergeEach})
}

// mergeState replaces a state, unless what was written has no expression: then its
// rules come before those of the preset, and its words mean what it says.
func mergeState(lower, upper fields) error {
	if upper["expr"] != nil {
		clear(lower)
		maps.Copy(lower, upper)
		return nil
	}
	var rules, more []Rule
	var words, others map[string][]string
	for _, part := range []struct {
		data json.RawMessage
		to   any
	}{{upper["rules"], &rules}, {lower["rules"], &more}, {upper["words"], &words}, {lower["words"], &others}} {
		if part.data == nil {
			continue
		}
		if err := json.Unmarshal(part.data, part.to); err != nil {
			return fmt.Errorf("state: %w", err)
		}
	}
	var err error
	if rules = append(rules, more...); rules != nil {
		if lower["rules"], err = json.Marshal(rules); err != nil {
			return err
		}
	}
	if words = wordsOver(words, others); words != nil {
		lower["words"], err = json.Marshal(words)
	}
	return err
}

// wordsOver adds to words those of others that have no meaning in it.
func wordsOver(words, others map[string][]string) map[string][]string {
	taken := make(map[string]bool)
	for _, list := range words {
		for _, word := range list {
			taken[fold(word)] = true
		}
	}
	if words == nil && others != nil {
		words = make(map[string][]string)
	}
	for status, list := range others {
		for _, word := range list {
			if !taken[fold(word)] {
				words[status] = append(words[status], word)
			}
		}
	}
	return words
}
