package adapter

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASubmitIsMatchedSegmentBySegment(t *testing.T) {
	job, err := Compile(Spec{Submit: Route{Path: "/queues/{params.q}/jobs%20x"}}, Options{})
	require.NoError(t, err)
	require.Equal(t, Route{Method: "POST", Path: "/queues/{params.q}/jobs%20x"}, job.Route())
	for path, q := range map[string]string{"/queues/low/jobs%20x": "low", "/queues/a%2Fb/jobs%20x": "a/b", "/queues/%C3%A9/%6aobs%20x": "é", "/queues/{x}/jobs%20x": "{x}"} {
		params, ok := job.MatchSubmit("POST", path)
		require.True(t, ok, path)
		require.Equal(t, map[string]string{"q": q}, params)
	}
	for _, path := range []string{"", "/", "/queues/low", "/queues/low/jobs%20x/", "/queues//jobs%20x", "/queues/a/b/jobs%20x", "/queues/../jobs%20x", "/queues/%2e%2e/jobs%20x", "/queues/%00/jobs%20x", "/queues/%zz/jobs%20x", "/queues/low/Jobs%20x", "queues/low/jobs%20x"} {
		_, ok := job.MatchSubmit("POST", path)
		require.False(t, ok, path)
	}
	_, ok := job.MatchSubmit("GET", "/queues/low/jobs%20x")
	require.False(t, ok)
}

func TestRoutesOverlapIfSomeRequestMatchesBoth(t *testing.T) {
	for _, c := range []struct {
		a, b Route
		want bool
	}{
		{Route{Path: "/jobs"}, Route{Method: "POST", Path: "/jobs"}, true},
		{Route{Path: "/jobs"}, Route{Method: "PUT", Path: "/jobs"}, false},
		{Route{Path: "/jobs"}, Route{Path: "/jobs/"}, false},
		{Route{Path: "/{params.a}/x"}, Route{Path: "/y/{params.b}"}, true},
		{Route{Path: "/{params.a}/x"}, Route{Path: "/y/z"}, false},
		{Route{Path: "/a%20b"}, Route{Path: "/%61%20b"}, true},
		{Route{Path: "not a path"}, Route{Path: "not a path"}, false},
	} {
		require.Equal(t, c.want, c.a.Overlaps(c.b), "%v and %v", c.a, c.b)
		require.Equal(t, c.want, c.b.Overlaps(c.a), "%v and %v", c.b, c.a)
	}
}

func TestOnlyARequestThatIsReadHasToBeKept(t *testing.T) {
	for jobID, want := range map[string]bool{"": false, "body.id": false, "request.id": true, "body.?id.orValue(request.id)": true, "'request'": false} {
		job, err := Compile(Spec{Submit: Route{Path: "/jobs"}, JobID: jobID}, Options{})
		require.NoError(t, err)
		require.Equal(t, want, job.ReadsRequest(), jobID)
	}
}
