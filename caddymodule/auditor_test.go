//go:build e2e

package caddymodule_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/audit"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/boltstore"
)

// asAuditor in the environment makes the test binary an auditor: of a ledger, and of
// the store of a process that is dead.
const asAuditor = "INTENTS_TEST_AS_AUDITOR"

func init() {
	if ledger := os.Getenv(asAuditor); ledger != "" {
		os.Exit(auditAlone(ledger, os.Args[1]))
	}
}

// auditAlone prints every promise that was broken, and answers with an exit code. How
// soon polls come is audited in virtual time: here a request can be late, and the next
// one in time.
func auditAlone(ledger, path string) (code int) {
	entries, err := readLedger(ledger)
	if err == nil {
		var stored []audit.Entry
		stored, err = takeStock(path)
		entries = append(entries, stored...)
	}
	if err != nil {
		fmt.Println(err)
		return 2
	}
	violations := audit.Audit(entries, audit.Terms{Slack: time.Minute})
	for _, v := range violations[:min(len(violations), 5)] {
		fmt.Println(v)
		tellAbout(entries, subject.FindString(v.What))
	}
	return min(len(violations), 1)
}

// subject is what a violation is about.
var subject = regexp.MustCompile(`client-\d+|job-\d+|[0-9a-f]{8}-[0-9a-f-]{27}`)

// tellAbout prints what the ledger has of a subject.
func tellAbout(entries []audit.Entry, what string) {
	whole := regexp.MustCompile(`\b` + regexp.QuoteMeta(what) + `\b`)
	for _, e := range entries {
		if line, err := json.Marshal(e); err == nil && what != "" && whole.Match(line) {
			fmt.Printf("\t%s\n", line)
		}
	}
}

func readLedger(path string) ([]audit.Entry, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return audit.ReadLedger(file)
}

// takeStock is what a store holds.
func takeStock(path string) (entries []audit.Entry, err error) {
	st, err := boltstore.Open(path, boltstore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	for f := (store.Filter{Limit: 1000}); ; {
		page, err := st.List(context.Background(), f)
		if err != nil {
			return nil, err
		}
		for _, in := range page.Intents {
			in, events, err := st.Events(context.Background(), in.ID, 0)
			if err != nil {
				return nil, err
			}
			entries = append(entries, audit.Entry{At: in.Updated, Stored: &audit.Stored{Intent: in, Events: events}})
		}
		if f.Before = page.Next; f.Before == (intent.ID{}) {
			return entries, nil
		}
	}
}

// audit has a process of its own hold the ledger against the store of the dead one.
func (tr *trial) audit() {
	tr.t.Helper()
	tr.auditAgainst(tr.p.store)
}

// auditCopy is audit of a process that lives: against a copy of its store.
func (tr *trial) auditCopy() {
	tr.t.Helper()
	resp, err := http.Get("http://" + tr.p.Admin + "/intents/backup")
	require.NoError(tr.t, err)
	defer resp.Body.Close()
	require.Equal(tr.t, http.StatusOK, resp.StatusCode)
	store, err := io.ReadAll(resp.Body)
	require.NoError(tr.t, err)
	path := filepath.Join(tr.t.TempDir(), "copy.db")
	require.NoError(tr.t, os.WriteFile(path, store, 0o600))
	tr.auditAgainst(path)
}

func (tr *trial) auditAgainst(store string) {
	tr.t.Helper()
	tr.witness.testify()
	require.NoError(tr.t, tr.ledger.Err())
	auditor := exec.Command(os.Args[0], store)
	auditor.Env = append(os.Environ(), asAuditor+"="+tr.path)
	out, err := auditor.CombinedOutput()
	require.NoError(tr.t, err, "%s", out)
}
