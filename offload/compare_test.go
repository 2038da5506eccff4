package offload_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A backend that also answers who is nobody, with job 1 of its default tenant.
func ofTenant(states map[string]string) http.HandlerFunc {
	begun := time.Now()
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, `{"job_id":"1","status":"pending"}`)
			return
		}
		tenant := r.Header.Get("X-Tenant")
		if tenant == "" {
			tenant = "main"
		}
		fmt.Fprintf(w, `{"job_id":"1","status":%q,"percent":%d,"of":%q}`, states[tenant], int(time.Since(begun)/time.Second), tenant)
	}
}

func TestWhoseOwnAnswerContradictsThePollsIsGivenItsOwnOnly(t *testing.T) {
	for name, states := range map[string]map[string]string{
		"all of them run":           {"main": "running", "a": "running", "z": "running"},
		"the one of nobody is over": {"main": "done", "a": "running", "z": "running"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(tt *tester) {
				tt.backend.atTheDoor(ofTenant(states))
				maker, other := tt.client("X-Tenant", "a"), tt.client("X-Tenant", "z")
				maker.submit()
				for range 60 {
					require.Contains(t, other.get("1").Body.String(), `"of":"z"`)
					tt.passes(time.Second)
				}
				if name != "all of them run" {
					return // it looks as if the id were used again
				}
				require.Equal(t, 1, strings.Count(tt.log.String(), `add="copy_headers X-Tenant"`), tt.log.String())
			})
		})
	}
}

func TestWhoAgreesWithThePollsCostsOneAnswerMore(t *testing.T) {
	inBubble(t, func(tt *tester) {
		states := map[string]string{"main": "running"}
		same := ofTenant(states)
		tt.backend.atTheDoor(func(w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context())
			r.Header.Del("X-Tenant")
			same(w, r)
		})
		maker := tt.client()
		maker.submit()
		maker.get("1")
		tt.passes(3 * time.Second)
		before := tt.backendAsked("1")
		for range 10 {
			for tenant := range 20 {
				require.Equal(t, http.StatusOK, tt.client("X-Tenant", fmt.Sprint(tenant)).get("1").Code)
			}
			tt.passes(2 * time.Second)
		}
		require.LessOrEqual(t, tt.backendAsked("1"), before+20+20+12)
	})
}
