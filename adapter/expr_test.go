package adapter

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// anyPaths are paths of every shape, for bodies that have them and bodies that do
// not.
var anyPaths = []string{
	"code", "text", "body", "request", "headers", "params", "headers.location", "headers['x-a']", "headers.missing", "params.q", "params.missing",
	"body.a", "body.a.b", "body.a.b.c", "body.a[0]", "body.a[1].b", "body.a[-1]", "body.a[9]", "body[0]", "body[0][1]", "body['a']", "body['task-id']", "body['a']['b']", "body.a.b[0]['c']",
	"body[\"\"]", "body.a.a", "request.a", "request[0].a", "int", "body.string", "body.a[9223372036854775807]",
}

var anyBodies = []string{
	`{"a":1}`, `{"a":{"b":{"c":"x"}}}`, `{"a":[1,{"b":2.50}]}`, `{"a":null}`, `{"a":"text"}`, `{"a":[[1],[2]]}`, `[[1,"two"],{"a":true}]`, `"str"`, `null`, `7`, `true`, `{}`, `[]`,
	`{"task-id":9007199254740993}`, `{"a":12345678901234567890}`, `{"a":123456789012345678901234567890}`, `{"a":1e400}`, `{"a":-0}`, `{"a":1.0}`, `{"":{"a":1}}`, `{"a":{"b":[{"c":false}]}}`, `{"a":{"a":{"a":1}}}`,
	`<a><b>1</b><b>2</b></a>`, `<a b="1"/>`, `not json`, ``, `{"a":`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{"int":1,"string":"s"}`,
}

func viewOf(body string) *view {
	return &view{
		Answer:   Answer{Code: 200, Header: http.Header{"Location": {"/a", "/b"}, "X-A": {"1"}}, Body: []byte(body)},
		params:   map[string]string{"q": "low"},
		asked:    []byte(body),
		captured: true,
	}
}

func TestAPathIsWalkedAsCELWouldWalkIt(t *testing.T) {
	for _, src := range anyPaths {
		e, err := compileExpr("test", src)
		require.NoError(t, err, src)
		require.NotNil(t, e.path, "%s is no path", src)
		for _, body := range anyBodies {
			requireSameBothWays(t, e, body)
		}
	}
}

// requireSameBothWays holds walking and computing together. A number is compared as
// CEL sees it: walking also keeps how it was written.
func requireSameBothWays(t *testing.T, e *expr, body string) {
	t.Helper()
	walked := e.path.walk(viewOf(body))
	computed, err := e.compute(viewOf(body))
	require.NoError(t, err)
	env, err := environment()
	require.NoError(t, err)
	require.Equal(t, computed, fromCEL(env.CELTypeAdapter().NativeToValue(walked)), "%s of %s", e.src, body)
}

func TestWhatIsNoPathIsComputed(t *testing.T) {
	for _, src := range []string{"has(body.a)", "body.a + body.b", "body[body.a]", "body.?a", "body.a == 1", "size(body)", "'x'", "body.a.size()", "body[1.0]", "[1][0]"} {
		e, err := compileExpr("test", src)
		require.NoError(t, err, src)
		require.Nil(t, e.path, src)
	}
}

func TestWhateverFailsInAnExpressionIsAbsent(t *testing.T) {
	for _, src := range []string{
		"body.missing > 1", "body.nil.x", "body.a < body.s", "1 / body.zero", "body.a % body.zero", "int(body.s)", "double(body.list)", "body.list[9] == 1", "body.s + body.a", "-body.s", "!body.a",
		"body.max + 1", "text.matches(body.bad)", "duration(body.s)", "timestamp(body.s)", "body.a.startsWith('x')", "size(body.a)", "body.s in body.a", "body.a ? 1 : 2", "body.list.map(x, x.y)", "body.?a.b.c.d", "request.x",
		"bytes(body.a)", "has(body.a.b.c) && body.a.b.c", "string(body.list)", "body.list.exists(x, x.y == 1)",
	} {
		e, err := compileExpr("test", src)
		require.NoError(t, err, src)
		v := viewOf(`{"a":1,"s":"text","nil":null,"zero":0,"list":[1,2],"max":9223372036854775807,"bad":"("}`)
		v.captured = false
		value, err := e.eval(v)
		require.NoError(t, err, src)
		require.True(t, value == nil || value == false, "%s gives %v", src, value)
	}
}

func TestNumbersInExpressionsAreExact(t *testing.T) {
	for src, want := range map[string]any{
		"body.id == 9007199254740993":          true,
		"body.id == 9007199254740992":          false,
		"body.big > 9223372036854775807":       true,
		"body.big == 12345678901234567890u":    true,
		"body.id + 1 == 9007199254740994":      true,
		"body.f == 0.5 && body.f < 1":          true,
		"body.one == 1 && type(body.f) != int": true,
		"string(body.id)":                      "9007199254740993",
		"body.id in [9007199254740993]":        true,
		"body.m.exists(k, k == 'x')":           true,
		"{'a': body.id}.a == body.id":          true,
	} {
		e, err := compileExpr("test", src)
		require.NoError(t, err, src)
		got, err := e.eval(viewOf(`{"id":9007199254740993,"big":12345678901234567890,"f":0.5,"one":1.0,"m":{"x":1}}`))
		require.NoError(t, err, src)
		require.Equal(t, want, got, src)
	}
}

// A backend can choose what an expression loops over, so every loop has to end, and
// an end by force must not look like a field that is not there.
func TestAnExpressionThatCostsTooMuchIsCutNotAbsent(t *testing.T) {
	body := `{"l":[` + strings.TrimSuffix(strings.Repeat("1,", 1000), ",") + `]}`
	for _, src := range []string{
		"body.l.all(a, body.l.all(b, body.l.all(c, a == b && b == c)))",
		"has(body.none) || body.l.all(a, body.l.all(b, a == b))",
	} {
		e, err := compileExpr("state rule 1", src)
		require.NoError(t, err)
		_, err = e.eval(viewOf(body))
		require.ErrorIs(t, err, errCut, src)
		require.EqualError(t, err, "state rule 1: expression costs too much")
	}
}

// What real APIs put into lists is far below what an expression may cost.
func TestAListOfAThousandIsSearchedWithinTheCost(t *testing.T) {
	var list strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&list, `{"type":"T%d","status":"True","flags":["A","B"],"code":%d},`, i, i)
	}
	body := `{"l":[` + list.String() + `{"type":"Complete","status":"True","flags":["LAST"],"code":7}],"m":{"x":{"ok":true}}}`
	for src, want := range map[string]any{
		"body.l.exists(c, c.type == 'Complete' && c.status == 'True')": true,
		"body.l.filter(c, 'LAST' in c.flags)[0].type":                  "Complete",
		"body.l.map(c, c.code).exists(n, n >= 400 && n < 500)":         true,
		"body.l.exists_one(c, c.type == 'Complete')":                   true,
		"body.m.exists(k, body.m[k].ok)":                               true,
		"regex.extract(text, '\"type\":\"(Complete)\"')":               "Complete",
	} {
		e, err := compileExpr("test", src)
		require.NoError(t, err, src)
		got, err := e.eval(viewOf(body))
		require.NoError(t, err, src)
		require.Equal(t, want, got, src)
	}
}

func TestAPollWhoseRuleCostsTooMuchIsUnreadable(t *testing.T) {
	job := mustCompile(t, Spec{
		Submit: Route{Path: "/jobs"}, Status: &Endpoint{Target: "/jobs/{job_id}"},
		State: &State{Expr: "body.s", Rules: []Rule{{Status: "completed", When: "!body.l.all(a, body.l.all(b, a == b))"}}},
	})
	read := job.ReadPoll(testIntent(), Answer{Code: 200, Body: []byte(`{"s":"done","l":[` + strings.Repeat("1,", 1000) + `1]}`)})
	require.Equal(t, Unreadable, read.Outcome)
	require.Equal(t, "state rule 1: expression costs too much", read.Reason)
}

func TestAnExpressionThatRunsOutOfTimeIsCutNotAbsent(t *testing.T) {
	e, err := compileExpr("test", "body.l.all(a, a == 1)")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = e.prog.ContextEval(ctx, activation{viewOf(`{"l":[` + strings.Repeat("1,", 1000) + `1]}`)})
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, isAbsence(err))
}

func TestNestingIsBounded(t *testing.T) {
	nest := func(open, middle, shut string, n int) []byte {
		return []byte(strings.Repeat(open, n) + middle + strings.Repeat(shut, n))
	}
	for name, c := range map[string]struct {
		body []byte
		kind bodyKind
	}{
		"lists at the bound":      {nest("[", "1", "]", maxDepth), jsonBody},
		"lists beyond":            {nest("[", "1", "]", maxDepth+1), opaqueBody},
		"objects beyond":          {nest(`{"a":`, "1", "}", maxDepth+1), opaqueBody},
		"a million brackets":      {nest("[", "", "", 1<<20), opaqueBody},
		"brackets in a text":      {[]byte(`"` + strings.Repeat("[", 500) + `\"[["`), jsonBody},
		"elements at the bound":   {nest("<a>", "", "</a>", maxDepth), xmlBody},
		"elements beyond":         {nest("<a>", "", "</a>", maxDepth+1), opaqueBody},
		"a million open elements": {nest("<a>", "", "", 1<<18), opaqueBody},
	} {
		_, kind, _ := decodeBody(Answer{Body: c.body})
		require.Equal(t, c.kind, kind, name)
	}
}

func TestTheWholeOfHeadersReadsAsWritten(t *testing.T) {
	e, err := compileExpr("test", "headers.location")
	require.NoError(t, err)
	got, err := e.text(viewOf(""))
	require.NoError(t, err)
	require.Equal(t, "/a, /b", got)
}

func TestConcurrentReadersShareAJob(t *testing.T) {
	job, err := Compile(Spec{
		Submit: Route{Path: "/jobs"}, Status: &Endpoint{Target: "/jobs/{job_id}"},
		State: &State{Expr: "body.s", Rules: []Rule{{Status: "failed", When: "body.n > 5"}}},
	}, Options{})
	require.NoError(t, err)
	done := make(chan string)
	for i := range 8 {
		go func() { done <- fmt.Sprint(readMany(job, i)) }()
	}
	for range 8 {
		require.Equal(t, "true", <-done)
	}
}

// readMany reads answers that differ from those of the other readers.
func readMany(job *Job, n int) bool {
	in := testIntent()
	for range 200 {
		read := job.ReadPoll(in, Answer{Code: 200, Body: fmt.Appendf(nil, `{"s":"running","n":%d}`, n)})
		if failed := read.Reading.Error != nil; failed != (n > 5) {
			return false
		}
	}
	return true
}
