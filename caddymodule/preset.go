package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-intents/caddy-intents/adapter"
)

// maxPresetFile is more than anybody writes by hand.
const maxPresetFile = 1 << 20

// hasPreset reports whether the job starts from another one.
func (j *Job) hasPreset() bool { return j.Preset != "" || j.PresetFile != "" }

// overPreset is the job with its preset under what was written.
func (j *Job) overPreset() (*Job, error) {
	if !j.hasPreset() {
		return j, nil
	}
	preset, err := j.loadPreset()
	if err != nil {
		return nil, err
	}
	lines := *j
	lines.Preset, lines.PresetFile = "", ""
	written, err := json.Marshal(lines)
	if err != nil {
		return nil, fmt.Errorf("reading the job: %w", err)
	}
	merged, err := preset.Under(written)
	if err != nil {
		return nil, err
	}
	job := new(Job)
	if err := caddy.StrictUnmarshalJSON(merged, job); err != nil {
		word := "preset"
		if j.PresetFile != "" {
			word = "preset_file"
		}
		return nil, fmt.Errorf("%s: %s: %w", word, preset.Name, err)
	}
	return job, nil
}

func (j *Job) loadPreset() (*adapter.Preset, error) {
	switch {
	case j.Preset != "" && j.PresetFile != "":
		return nil, errors.New("preset: there is a preset_file as well; write one of them")
	case j.Preset != "":
		return adapter.BuiltinPreset(j.Preset)
	}
	file, err := os.Open(j.PresetFile)
	if err != nil {
		return nil, fmt.Errorf("preset_file: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxPresetFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("preset_file: %w", err)
	case len(data) > maxPresetFile:
		return nil, fmt.Errorf("preset_file: %s is longer than 1 MiB", j.PresetFile)
	}
	preset, err := adapter.ParsePreset(strings.TrimSuffix(filepath.Base(j.PresetFile), ".json"), data)
	if err != nil {
		return nil, fmt.Errorf("preset_file: %w", err)
	}
	return preset, nil
}
