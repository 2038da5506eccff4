package engine_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

// rot is a Sealer whose secrecy is enough to see whether plain text leaks.
type rot struct{}

func (rot) Seal(id [16]byte, field string, value []byte) []byte {
	sealed := append([]byte(field), id[:]...)
	for _, b := range value {
		sealed = append(sealed, b^0x5a)
	}
	return sealed
}

func (rot) Open(id [16]byte, field string, sealed []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(sealed, append([]byte(field), id[:]...))
	if !ok {
		return nil, errors.New("not sealed for this")
	}
	plain := make([]byte, len(rest))
	for i, b := range rest {
		plain[i] = b ^ 0x5a
	}
	return plain, nil
}

func copyAuthorization(j *engine.Job, _ *adapter.Spec) {
	j.CopyHeaders = []string{"authorization", "Cookie"}
}

const canary = "Bearer canary-7f3a"

func (et *tester) submitAs(authorization string) (intent.ID, string) {
	et.t.Helper()
	w := et.post(func(r *http.Request) { r.Header.Set("Authorization", authorization) })
	id, err := intent.ParseID(w.Header().Get("Intent-Id"))
	require.NoError(et.t, err)
	return id, et.get(id).JobID
}

func TestCopiedHeadersGoWithEveryPollAndNowhereElse(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submitAs(canary)
		et.advance(time.Minute)
		for _, asked := range et.backend.AskedFor("GET", "/reports/status/"+job) {
			require.Equal(t, canary, asked.Header.Get("Authorization"))
		}
		stored, err := json.Marshal(et.get(id))
		require.NoError(t, err)
		require.NotContains(t, string(stored), "canary")
		require.NotEmpty(t, et.get(id).Sealed)
		et.restart()
		et.backend.Finishes(job)
		et.advance(time.Minute)
		in := et.get(id)
		require.Equal(t, intent.Completed, in.Status)
		require.Empty(t, in.Sealed, "gone with the end")
		events, err := json.Marshal(et.events(id))
		require.NoError(t, err)
		require.NotContains(t, string(events), "canary")
		require.Empty(t, et.log.with("canary"))
	}, copyAuthorization)
}

func TestARefusedPollWaitsForCredentialsAndIsRenewed(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		id, job := et.submitAs(canary)
		et.backend.Meets(legacytest.Polls, func(w http.ResponseWriter, r *http.Request, well http.HandlerFunc) {
			if r.Header.Get("Authorization") == canary {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			well(w, r)
		}, legacytest.Always)
		et.advance(2 * time.Hour)
		in := et.get(id)
		require.Equal(t, intent.InProgress, in.Status, "no give_up runs")
		require.Equal(t, "credentials", in.Waiting)
		require.Len(t, et.log.with("lack of credentials"), 1)
		et.backend.Finishes(job)
		require.NoError(t, et.engine.Renew(t.Context(), id, http.Header{"Authorization": {"Bearer fresh"}}))
		et.advance(time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
	}, copyAuthorization)
}

func TestTheConfigsHeadersWinOverCopiedOnes(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		_, job := et.submitAs(canary)
		et.advance(time.Second)
		require.Equal(t, "Bearer ours", et.backend.AskedFor("GET", "/reports/status/"+job)[0].Header.Get("Authorization"))
	}, copyAuthorization, func(_ *engine.Job, s *adapter.Spec) {
		s.Status.Header = http.Header{"Authorization": {"Bearer ours"}}
	})
}

func TestWithoutCopiedHeadersTheFirstRefusalTellsTheLineToAdd(t *testing.T) {
	inBubble(t, func(t *testing.T, et *tester) {
		et.submitAs(canary)
		et.backend.Meets(legacytest.Polls, legacytest.Code(403, ""), legacytest.Always)
		et.advance(time.Minute)
		lines := et.log.with("lack of credentials")
		require.Len(t, lines, 1)
		require.Contains(t, lines[0], "copy_headers Authorization")
	})
}

func TestTheLineToAddNamesWhatClientsAuthenticateWith(t *testing.T) {
	for submit, want := range map[string]string{"X-Api-Key": "copy_headers authorization Cookie X-Api-Key,", "X-Tenant": "copy_headers authorization Cookie X-Tenant,", "Accept-Language": ""} {
		inBubble(t, func(t *testing.T, et *tester) {
			et.post(func(r *http.Request) { r.Header.Set(submit, "value") })
			et.backend.Meets(legacytest.Polls, legacytest.Code(403, ""), legacytest.Always)
			et.advance(time.Minute)
			line := et.log.with("lack of credentials")[0]
			if want == "" {
				require.NotContains(t, line, "copy_headers", "they are copied already")
				return
			}
			require.Contains(t, line, want)
			require.NotContains(t, line, "value")
		}, copyAuthorization)
	}
}

func TestWhoseFirstPollIsRefusedWaitsForCredentialsToo(t *testing.T) {
	b := newScript(map[string][]string{
		"POST /reports/generate": {`202 {"job_id":"1"}`}, // says nothing of a state
		"GET /reports/status/1":  {"401 no"},
	})
	inBubble(t, func(t *testing.T, et *tester) {
		id, _ := et.submit()
		et.advance(time.Minute)
		require.Equal(t, intent.Delivered, et.get(id).Status)
		require.Equal(t, "credentials", et.get(id).Waiting)
		et.wantEvents(id, "created submitted delivered")
		b.says("GET /reports/status/1", `200 {"status":"done"}`)
		require.NoError(t, et.engine.Renew(t.Context(), id, http.Header{"Authorization": {"Bearer fresh"}}))
		et.advance(time.Second)
		require.Equal(t, intent.Completed, et.get(id).Status)
		require.Empty(t, et.get(id).Waiting)
	}, copyAuthorization, scripted(b, func(*adapter.Spec) {}))
}
