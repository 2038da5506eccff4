package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/legacytest"
)

const correlation = "5d2a3c1e-0c56-4b1a-9a0c-4d1f0f3f4a11"

// create makes an intent by the name of its job.
func (s *site) create(body string, headers ...string) *http.Response {
	return s.do("POST", "/v1/intents", body, append([]string{"Content-Type", "application/json"}, headers...)...)
}

func createdID(t *testing.T, resp *http.Response) string {
	t.Helper()
	body := text(t, resp)
	require.Equal(t, http.StatusOK, resp.StatusCode, body)
	var answer struct {
		OK       bool
		IntentID string `json:"intent_id"`
		Status   intent.Status
		Created  time.Time `json:"created_at"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.True(t, answer.OK)
	require.Equal(t, intent.Submitted, answer.Status)
	require.False(t, answer.Created.IsZero())
	return answer.IntentID
}

func TestAnIntentIsCreatedByTheNameOfItsJob(t *testing.T) {
	s := newSite(t)
	s.serve(strings.Replace(report, "poll 100ms", "copy_headers Authorization\npoll 100ms", 1))
	s.backend.EveryJobSays(legacytest.Status{State: "running"}, legacytest.Status{State: "done"})
	id := createdID(t, s.create(`{"intent_type":"report","correlation_id":"`+correlation+`","to_agent":"agent://acme/reports","payload":{"kind": "annual"},"max_delivery_attempts":3,"extra":1}`,
		"Authorization", "Bearer ada"))
	s.observe(id).until(intent.Completed)
	require.Equal(t, `{"kind": "annual"}`, s.backend.Jobs()[0].Body)
	asked := s.backend.AskedFor("POST", "/reports/generate")[0]
	require.Equal(t, "application/json", asked.Header.Get("Content-Type"))
	require.Equal(t, "Bearer ada", asked.Header.Get("Authorization"), "the backend decides who may start the job")
	view := text(t, s.do("GET", "/v1/intents/"+id, ""))
	for _, want := range []string{`"intent_type":"report"`, `"correlation_id":"` + correlation + `"`, `"to_agent":"agent://acme/reports"`,
		`"from_agent":""`, `"payload":{"kind":"annual"}`, `"max_delivery_attempts":3`, `"delivery_attempt":1`, `"lifecycle_status":"COMPLETED"`} {
		require.Contains(t, view, want)
	}
}

func TestACreateThatCannotBeIsRefusedWithTheField(t *testing.T) {
	s := newSite(t)
	s.serve(report + "\nhandle /never {\nrespond 404\n}")
	for body, want := range map[string]string{
		``: "400 not valid JSON", `[]`: "400 another type: array", `{"intent_type":7}`: "400 the type of intent_type is wrong: number",
		`{}`:                                     "422 intent_type is missing",
		`{"intent_type":"invoice"}`:              `422 intent_type \"invoice\" is not the name of a job`,
		`{"intent_type":"report","payload":[1]}`: "422 payload must be an object",
		`{"intent_type":"report","payload":"text"}`:                                     "422 payload must be an object",
		`{"intent_type":"report","correlation_id":"7"}`:                                 "422 correlation_id must be a UUID",
		`{"intent_type":"report","max_delivery_attempts":0}`:                            "422 max_delivery_attempts must be 1 or more",
		`{"intent_type":"report","deadline_at":"2001-01-01T00:00:00Z"}`:                 "422 deadline_at is in the past",
		`{"intent_type":"report","deadline_at":"tomorrow"}`:                             "400 deadline_at is not a time",
		`{"intent_type":"report","deadline_at":7}`:                                      "400 deadline_at is not a time",
		`{"intent_type":"report","ttl_seconds":0}`:                                      "422 ttl_seconds must be 1 or more",
		`{"intent_type":"report","to_agent":"` + strings.Repeat("a", 384) + `"}`:        "422 to_agent",
		`{"intent_type":"report","payload":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`: "413 the body is too large",
		`{"intent_type":"report","payload":{"x":"` + strings.Repeat("x", 2<<20) + `"}}`: "413 the body is too large",
	} {
		code, message, _ := strings.Cut(want, " ")
		resp := s.create(body)
		got := text(t, resp)
		require.Equal(t, code, fmt.Sprint(resp.StatusCode), "%.80s %s", body, got)
		require.Contains(t, got, message, "%.80s", body)
		require.Contains(t, got, `"ok":false`)
	}
	require.Equal(t, http.StatusUnsupportedMediaType, s.do("POST", "/v1/intents", `{"intent_type":"report"}`, "Content-Type", "text/plain").StatusCode)
	require.Zero(t, s.posts())
}

func TestACreateWithAKeyMakesOneIntent(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	first := createdID(t, s.create(`{"intent_type":"report","payload":{"a":1}}`, "Idempotency-Key", "k"))
	again := s.create(`{"intent_type":"report","payload":{"a":1}}`, "Idempotency-Key", "k")
	require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
	require.Equal(t, first, createdID(t, again))
	for _, other := range []string{`{"intent_type":"report","payload":{"a":2}}`, `{"intent_type":"report","payload":{"a":1},"ttl_seconds":60}`} {
		resp := s.create(other, "Idempotency-Key", "k")
		require.Equal(t, http.StatusConflict, resp.StatusCode)
		require.Contains(t, text(t, resp), "idempotency_key_reused")
	}
	s.observe(first).until(intent.Delivered)
	require.Equal(t, 1, s.posts())
}

func TestARefusalOfTheBackendFailsTheIntent(t *testing.T) {
	s := newSite(t)
	s.serve(report)
	s.backend.Meets(legacytest.Submits, legacytest.Code(403, ""), 1)
	events := s.observe(createdID(t, s.create(`{"intent_type":"report"}`))).until(intent.Failed)
	require.Equal(t, intent.CodeRefused, events[len(events)-1].Details.Error.Code)
	require.Contains(t, events[len(events)-1].Details.Error.Message, "403")
}

func TestTheDeadlineOfACreateIsCappedByTheJobs(t *testing.T) {
	s := newSite(t)
	s.serve(strings.Replace(report, "poll 100ms", "deadline 1h\npoll 100ms", 1))
	for body, want := range map[string]time.Duration{
		`{"intent_type":"report","ttl_seconds":60}`:                                                                     time.Minute,
		`{"intent_type":"report","ttl_seconds":999999}`:                                                                 time.Hour,
		`{"intent_type":"report","ttl_seconds":9223372036854775807}`:                                                    time.Hour,
		`{"intent_type":"report","deadline_at":"` + time.Now().Add(2*time.Minute).UTC().Format(time.RFC3339Nano) + `"}`: 2 * time.Minute,
		`{"intent_type":"report"}`:                                                                                      time.Hour,
	} {
		var answer struct {
			Intent struct {
				Created  time.Time `json:"created_at"`
				Deadline time.Time `json:"deadline_at"`
			} `json:"intent"`
		}
		id := createdID(t, s.create(body))
		require.NoError(t, json.Unmarshal([]byte(text(t, s.do("GET", "/v1/intents/"+id, ""))), &answer))
		require.InDelta(t, want.Seconds(), answer.Intent.Deadline.Sub(answer.Intent.Created).Seconds(), 30, body)
	}
}

func TestAnIntentIsCreatedForItsOwner(t *testing.T) {
	s := newSite(t)
	s.serve(owned)
	require.Equal(t, http.StatusUnauthorized, s.create(`{"intent_type":"report"}`).StatusCode)
	id := createdID(t, s.create(`{"intent_type":"report"}`, "X-User", "ada"))
	require.Equal(t, http.StatusOK, s.do("GET", "/v1/intents/"+id, "", "X-User", "ada").StatusCode)
	require.Equal(t, http.StatusNotFound, s.do("GET", "/v1/intents/"+id, "", "X-User", "eve").StatusCode)
	require.NotEqual(t, createdID(t, s.create(`{"intent_type":"report"}`, "X-User", "ada", "Idempotency-Key", "k")),
		createdID(t, s.create(`{"intent_type":"report"}`, "X-User", "eve", "Idempotency-Key", "k")))
}

func TestAJobThatIsStartedByAGetTakesNoPayload(t *testing.T) {
	s := newSite(t)
	s.serve(strings.ReplaceAll(report, "submit POST /reports/generate", "submit GET /start"))
	resp := s.create(`{"intent_type":"report","payload":{"a":1}}`)
	require.Equal(t, http.StatusUnprocessableEntity, resp.StatusCode)
	require.Contains(t, text(t, resp), "payload must be empty")
	createdID(t, s.create(`{"intent_type":"report"}`))
}

func TestAJobWhosePathVariesIsStartedByItsOwnURLOnly(t *testing.T) {
	s := newSite(t)
	s.serve(strings.ReplaceAll(report, "submit POST /reports/generate", "submit POST /{params.team}/generate"))
	resp := s.create(`{"intent_type":"report"}`)
	require.Equal(t, http.StatusUnprocessableEntity, resp.StatusCode)
	require.Contains(t, text(t, resp), "by its own URL only")
}
