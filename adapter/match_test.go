package adapter

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStatusRequestsAreTakenApart(t *testing.T) {
	cases := []struct {
		status, target string
		job            string // "" if it is no status request
		params         map[string]string
	}{
		{"/jobs/{job_id}", "/jobs/1", "1", nil},
		{"/jobs/{job_id}", "/jobs/a%2Fb", "a/b", nil},
		{"/jobs/{job_id}", "/jobs/a+b", "a+b", nil},
		{"/jobs/{job_id}", "/jobs/1/", "", nil},
		{"/jobs/{job_id}", "/jobs/", "", nil},
		{"/jobs/{job_id}", "/jobs/1/files", "", nil},
		{"/jobs/{job_id}", "/jobs/1?view=full", "", nil},
		{"/jobs/{job_id}", "/jobs/%31", "", nil}, // another spelling is another URL
		{"/jobs/{job_id}", "/jobs/..", "", nil},
		{"/jobs/{job_id}", "/jobs/%2e%2e", "", nil},
		{"/jobs/{job_id}", "/jobs/..%2Fx", "", nil},
		{"/jobs/{job_id}.json", "/jobs/a.json.json", "a.json", nil},
		{"/q/{params.queue}/jobs/{job_id}?view=full", "/q/eu/jobs/7?view=full", "7", map[string]string{"queue": "eu"}},
		{"/jobs?id={job_id}&v=1", "/jobs?id=a%26b&v=1", "a&b", nil},
		{"/jobs?id={job_id}&v=1", "/jobs?id=a&b&v=1", "", nil},
	}
	for _, c := range cases {
		spec := Spec{Submit: Route{Path: "/q/{params.queue}"}, Status: &Endpoint{Target: c.status}}
		job, err := Compile(spec, Options{})
		require.NoError(t, err, c.status)
		m := job.StatusMatcher()
		d, ok := m.Match(c.target)
		require.Equal(t, c.job != "", ok, "%s as %s", c.target, c.status)
		if ok {
			require.Equal(t, c.job, d.JobID)
			require.Equal(t, c.target, d.StatusURL)
			require.Equal(t, c.params, d.Params)
			require.Equal(t, c.params != nil, m.Whole(d), "without the queue its other requests cannot be made")
		}
	}
}

func TestURLsThatTheBackendNamesMatchNoTemplate(t *testing.T) {
	job, err := Compile(Spec{Submit: Route{Path: "/jobs"}}, Options{})
	require.NoError(t, err)
	m := job.StatusMatcher()
	require.True(t, m.AnyURL())
	_, ok := m.Match("/jobs/1")
	require.False(t, ok)

	job, err = Compile(Spec{Submit: Route{Path: "/jobs"}, Status: &Endpoint{Method: "POST", Target: "/jobs/{job_id}"}}, Options{})
	require.NoError(t, err)
	require.Nil(t, job.StatusMatcher())
}
