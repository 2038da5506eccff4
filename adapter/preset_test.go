package adapter_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
)

func preset(t *testing.T, job string) *adapter.Preset {
	t.Helper()
	p, err := adapter.ParsePreset("mine", []byte(`{"doc":"Mine.","job":`+job+`}`))
	require.NoError(t, err)
	return p
}

func TestEveryLineWrittenReplacesThePresetsLineOfThatWord(t *testing.T) {
	const job = `{"submit":{"method":"PUT","path":"/p"},"status":{"method":"POST","target":"/s/{job_id}","header":{"A":["1"],"B":["1"]}},
		"job_id":"body.id","state":{"expr":"body.state","rules":[{"status":"failed","when":"body.bad"}],"words":{"completed":["done","ok"],"failed":["bad"]}},
		"result":{"expr":"body.r"},"poll":{"interval":"5s","max_interval":"9s"}}`
	cases := map[string]struct{ written, key, want string }{
		"nothing written":                {`{}`, "submit", `{"method":"PUT","path":"/p"}`},
		"a word":                         {`{"job_id":"body.uid"}`, "job_id", `"body.uid"`},
		"a word that the preset has not": {`{"message":"body.m"}`, "message", `"body.m"`},
		"another form of a word":         {`{"result":{"fetch_url":"body.u"}}`, "result", `{"fetch_url":"body.u"}`},
		"a path and its method":          {`{"submit":{"path":"/q"}}`, "submit", `{"path":"/q"}`},
		"a target, beside the headers":   {`{"status":{"target":"/t/{job_id}"}}`, "status", `{"target":"/t/{job_id}","header":{"A":["1"],"B":["1"]}}`},
		"a header, beside the target":    {`{"status":{"header":{"B":["2"],"C":["2"]}}}`, "status", `{"method":"POST","target":"/s/{job_id}","header":{"A":["1"],"B":["2"],"C":["2"]}}`},
		"a word of poll":                 {`{"poll":{"interval":"1s"}}`, "poll", `{"interval":"1s","max_interval":"9s"}`},
		"a state":                        {`{"state":{"expr":"body.phase"}}`, "state", `{"expr":"body.phase"}`},
		"more rules, tried first": {`{"state":{"rules":[{"status":"canceled","when":"body.c"}]}}`, "state",
			`{"expr":"body.state","rules":[{"status":"canceled","when":"body.c"},{"status":"failed","when":"body.bad"}],"words":{"completed":["done","ok"],"failed":["bad"]}}`},
		"more words, and other meanings": {`{"state":{"words":{"failed":["OK"],"in_progress":["soon"]}}}`, "state",
			`{"expr":"body.state","rules":[{"status":"failed","when":"body.bad"}],"words":{"completed":["done"],"failed":["OK","bad"],"in_progress":["soon"]}}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			merged, err := preset(t, job).Under([]byte(c.written))
			require.NoError(t, err)
			var fields map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(merged, &fields))
			require.JSONEq(t, c.want, string(fields[c.key]))
		})
	}
}

func TestAPresetFileThatCannotBeOneIsRefusedWithTheReason(t *testing.T) {
	cases := map[string]string{
		``:                                    "preset: mine: EOF",
		`[]`:                                  "preset: mine: json: cannot unmarshal array into Go value of type adapter.Preset",
		`{"doc":"x"}`:                         `preset: mine: "job": unexpected end of JSON input`,
		`{"job":null}`:                        `preset: mine: "job": it is no object`,
		`{"job":{}} {}`:                       "preset: mine: something follows its end",
		`{"job":{},"state":"body.s"}`:         `preset: mine: json: unknown field "state"`,
		`{"job":{"name":"x"}}`:                "preset: mine: a preset has no name: leave it out",
		`{"job":{"preset":"lxd"}}`:            "preset: mine: a preset has no preset: leave it out",
		`{"job":{"preset_file":"/etc/x.js"}}`: "preset: mine: a preset has no preset_file: leave it out",
	}
	for text, want := range cases {
		_, err := adapter.ParsePreset("mine", []byte(text))
		require.EqualError(t, err, want, text)
		_, typed := errors.AsType[*adapter.SpecError](err)
		require.True(t, typed, text)
	}
}

func TestAPartThatCannotBeMergedIsRefused(t *testing.T) {
	for job, written := range map[string]string{
		`{"state":7}`:              `{"state":{"rules":[]}}`,
		`{"poll":{}}`:              `{"poll":"5s"}`,
		`{"state":{"words":[]}}`:   `{"state":{"words":{}}}`,
		`{"status":{"header":[]}}`: `{"status":{"header":{}}}`,
	} {
		_, err := preset(t, job).Under([]byte(written))
		require.Error(t, err, job)
	}
}

// What a preset says comes from somewhere, or it says that it does not.
func TestEveryBuiltinPresetCompilesAndNamesItsSource(t *testing.T) {
	require.NotEmpty(t, adapter.PresetNames())
	for _, name := range adapter.PresetNames() {
		p, err := adapter.BuiltinPreset(name)
		require.NoError(t, err, name)
		require.NotEmpty(t, p.Doc, name)
		require.True(t, name == "auto" || len(p.Sources) > 0, "%s has no source", name)
		// As if one with a path of its own had left it out.
		written := `{}`
		var job struct{ Submit adapter.Route }
		require.NoError(t, json.Unmarshal(p.Job, &job))
		if job.Submit.Path == "" {
			written = `{"submit":{"path":"/jobs"}}`
		}
		merged, err := p.Under([]byte(written))
		require.NoError(t, err, name)
		var spec adapter.Spec
		require.NoError(t, json.Unmarshal(merged, &spec), name)
		_, err = adapter.Compile(spec, adapter.Options{})
		require.NoError(t, err, name)
	}
	_, err := adapter.BuiltinPreset("../doc")
	require.ErrorContains(t, err, `preset: "../doc" is unknown; known are: airflow, auto, `)
}
