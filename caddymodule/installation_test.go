package caddymodule

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/engine"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// stubbornStore cannot be opened until it is willing.
type stubbornStore struct {
	tries   int
	willing bool
	takes   time.Duration
}

func (s *stubbornStore) Address() string { return "stubborn" }

func (s *stubbornStore) Open(*slog.Logger) (store.Store, error) {
	advance(s.takes)
	s.tries++
	if !s.willing {
		return nil, errors.New("in use by another process")
	}
	return memstore.New(), nil
}

func newTestInstallation(t *testing.T) *installation {
	made, err := newInstallation()
	require.NoError(t, err)
	return made.(*installation)
}

// advance lets virtual time pass.
func advance(d time.Duration) { <-time.After(d) }

var quiet = slog.New(slog.DiscardHandler)

func settings() *engine.Generation {
	return &engine.Generation{Retention: time.Hour, Logger: quiet}
}

func TestAStoreThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newTestInstallation(t)
		s := &stubbornStore{}
		i.use(s, settings())
		begun := time.Now()
		require.Nil(t, i.await(t.Context()), "the first try has failed: nobody waits for the next")
		require.Zero(t, time.Since(begun))
		advance(openRetry + time.Second)
		s.willing = true
		advance(openRetry)
		require.NotNil(t, i.await(t.Context()))
		require.Equal(t, 3, s.tries)
		require.NoError(t, i.Destruct())
	})
}

func TestAStoreThatNeverOpensLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newTestInstallation(t)
		retire := i.use(&stubbornStore{}, settings())
		advance(time.Minute)
		retire()
		require.NoError(t, i.Destruct())
	})
}

func TestAStartInProgressIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newTestInstallation(t)
		go i.use(&stubbornStore{willing: true, takes: 3 * time.Second}, settings())
		begun := time.Now()
		require.NotNil(t, i.await(t.Context()))
		require.Equal(t, 3*time.Second, time.Since(begun))
		require.NoError(t, i.Destruct())
	})
}

func TestAStartInProgressIsWaitedForByAnEventSourceOnAJobsOwnURLAndByNoPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newTestInstallation(t)
		h := &Handler{app: &App{installation: i, started: make(chan struct{})}}
		go func() { // as App.Start
			i.use(&stubbornStore{willing: true, takes: 3 * time.Second}, settings())
			close(h.app.started)
		}()
		poll := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/reports/status/job-1", nil)
		source := poll.Clone(t.Context())
		source.Header.Set("Accept", "text/event-stream")
		begun := time.Now()
		require.Nil(t, h.partsFor(poll))
		require.Zero(t, time.Since(begun))
		require.NotNil(t, h.partsFor(source))
		require.Equal(t, 3*time.Second, time.Since(begun))
		require.NotNil(t, h.partsFor(poll))
		require.NoError(t, i.Destruct())
	})
}

func TestAStartIsWaitedForFiveSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newTestInstallation(t)
		go i.use(&stubbornStore{willing: true, takes: time.Minute}, settings())
		begun := time.Now()
		require.Nil(t, i.await(t.Context()))
		require.Equal(t, awaitStart, time.Since(begun))
		advance(time.Minute)
		require.NoError(t, i.Destruct())
	})
}

func TestSettingsAppliedBeforeTheStoreOpensCountOnceItDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newTestInstallation(t)
		s := &stubbornStore{}
		retireFirst := i.use(s, settings())
		second := settings()
		i.use(s, second)
		retireFirst()
		s.willing = true
		advance(openRetry + time.Second)
		require.NotNil(t, i.await(t.Context()))
		require.Same(t, second, i.serving[0].generation)
		require.NotNil(t, i.serving[0].retire)
		require.NoError(t, i.Destruct())
	})
}

// A brittleStore breaks down on demand.
type brittleStore struct {
	opened []*brittle
	refuse bool
}

type brittle struct {
	store.Store
	down   chan struct{}
	closed bool
}

func (s *brittle) Down() <-chan struct{} { return s.down }

func (s *brittle) Close() error {
	s.closed = true
	return s.Store.Close()
}

func (s *brittleStore) Address() string { return "brittle" }

func (s *brittleStore) Open(*slog.Logger) (store.Store, error) {
	if s.refuse {
		return nil, errors.New("the file is damaged")
	}
	b := &brittle{Store: memstore.New(), down: make(chan struct{})}
	s.opened = append(s.opened, b)
	return b, nil
}

func TestAStoreThatBreaksDownIsOpenedAnewAtOnceWithTheSameSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newTestInstallation(t)
		s := &brittleStore{}
		g := settings()
		retire := i.use(s, g)
		before := i.await(t.Context())
		advance(time.Minute)
		close(s.opened[0].down)
		synctest.Wait()
		require.True(t, s.opened[0].closed)
		after := i.await(t.Context())
		require.NotNil(t, after)
		require.NotSame(t, before, after)
		require.NotNil(t, i.serving[0].retire, "its engine has the settings")
		retire()
		require.NoError(t, i.Destruct())
		require.True(t, s.opened[1].closed)
	})
}

func TestAStoreThatBreaksDownAgainAndAgainIsNotOpenedInHaste(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newTestInstallation(t)
		s := &brittleStore{}
		i.use(s, settings())
		begun := time.Now()
		for n := range 10 {
			for len(s.opened) == n {
				require.Nil(t, i.await(t.Context()), "nobody waits for it")
				advance(time.Second)
			}
			close(s.opened[n].down)
			synctest.Wait()
		}
		require.GreaterOrEqual(t, time.Since(begun), 9*openRetry)
		require.NoError(t, i.Destruct())
	})
}

func TestAStoreThatIsDamagedInUseIsTriedUntilTheOperatorHasSeenToIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newTestInstallation(t)
		s := &brittleStore{}
		i.use(s, settings())
		advance(time.Minute)
		s.refuse = true
		close(s.opened[0].down)
		advance(time.Minute)
		synctest.Wait()
		require.Nil(t, i.await(t.Context()))
		i.use(s, settings()) // a reload meanwhile
		s.refuse = false
		advance(openRetry)
		synctest.Wait() // it is tried at this very moment
		require.NotNil(t, i.await(t.Context()))
		for _, sv := range i.serving {
			require.NotNil(t, sv.retire)
		}
		require.NoError(t, i.Destruct())
	})
}

func TestWhatOutlivesAConfigLogsWhereTheCurrentOneSays(t *testing.T) {
	var first, second bytes.Buffer
	var current atomic.Pointer[slog.Logger]
	current.Store(slog.New(slog.NewTextHandler(&first, nil)))
	log := newFollower(&current).With("store", "a").WithGroup("b")
	log.Info("one")
	current.Store(slog.New(slog.NewTextHandler(&second, &slog.HandlerOptions{Level: slog.LevelWarn})))
	log.Info("two")
	log.Warn("three", "c", 1)
	require.Contains(t, first.String(), "msg=one store=a")
	require.NotContains(t, first.String(), "three")
	require.NotContains(t, second.String(), "two")
	require.Contains(t, second.String(), "msg=three store=a b.c=1")
}
