package adapter

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheMemoryOfAnEarlierReleaseIsStillRead(t *testing.T) {
	require.True(t, recall("200 is done").Done)
	m := recall(`{"v":1,"done":true,"next":"/x"}`)
	require.Equal(t, memory{Version: 1, Done: true, Next: "/x"}, m)
	require.JSONEq(t, `{"v":1,"done":true,"next":"/x"}`, m.text())
}

func TestAMemoryThatCannotBeReadIsForgotten(t *testing.T) {
	for _, text := range []string{"{", "soon", `{"v":2,"done":true}`, `[1]`, `{"v":"1"}`} {
		require.Zero(t, recall(text), text)
	}
	require.Empty(t, memory{Version: 1}.text(), "there is nothing in it")
}

// An answer that was read by one spec can mean something else by another: then the
// backend must not be asked whether it has changed.
func TestAnETagIsNotUsedByAnotherSpec(t *testing.T) {
	spec := Spec{Submit: Route{Path: "/jobs"}, Status: &Endpoint{Target: "/jobs/{job_id}"}}
	before := mustCompile(t, spec)
	in := testIntent()
	a := Answer{Code: 200, Header: map[string][]string{"Etag": {`"1"`}}, Body: []byte(`{"status":"running"}`)}
	in.Memory = before.ReadPoll(in, a).Memory
	r, err := before.PollRequest(in)
	require.NoError(t, err)
	require.Equal(t, `"1"`, r.Header.Get("If-None-Match"))

	spec.State = &State{Expr: "body.status", Words: map[string][]string{"completed": {"running"}}}
	r, err = mustCompile(t, spec).PollRequest(in)
	require.NoError(t, err)
	require.Empty(t, r.Header)
}

func TestAHopThatTheConfigHasNoMoreIsLeft(t *testing.T) {
	in := testIntent()
	in.Memory = `{"v":1,"then":{"url":"/runs/88","memory":{"next":"/runs/89"}}}`
	r, err := mustCompile(t, Spec{Submit: Route{Path: "/jobs"}, Status: &Endpoint{Target: "/jobs/{job_id}"}}).PollRequest(in)
	require.NoError(t, err)
	require.Equal(t, "/jobs/7", r.URL)
}
