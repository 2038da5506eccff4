package caddymodule_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAStoreInRedisIsRefusedWithWhatToDo(t *testing.T) {
	const secret = "secret 0123456789abcdef0123456789abcdef"
	for name, c := range map[string]struct{ lines, want string }{
		"no secret":             {"store redis redis://a", "several machines that share a Redis need the same one"},
		"no password":           {secret + "\nstore redis redis://a {\npassword {env.NOWHERE_TO_BE_FOUND}\n}", "password: evaluated placeholder {env.NOWHERE_TO_BE_FOUND} is empty"},
		"no CA":                 {secret + "\nstore redis rediss://a {\ntls {\nca /nowhere/ca.pem\n}\n}", "tls: ca: open /nowhere/ca.pem"},
		"no key":                {secret + "\nstore redis rediss://a {\ntls {\ncertificate testdata/redis_password\n}\n}", "certificate: write the file"},
		"a key that is no key":  {secret + "\nstore redis rediss://a {\ntls {\ncertificate testdata/redis_password testdata/redis_password\n}\n}", "tls: certificate"},
		"a scheme from outside": {secret + "\nstore redis {file.testdata/redis_password}", "url 1: it is not of the form"},
	} {
		t.Run(name, func(t *testing.T) {
			got, refused := adapt(t, "{\nintents {\n"+c.lines+"\n}\n}\n:80 {\nintents localhost:8000 {\njob report {\nsubmit POST /reports\n}\n}\n}")
			require.True(t, refused)
			require.Contains(t, got, c.want)
			require.False(t, strings.Contains(got, "hunter2"), "no password in an error")
		})
	}
}
