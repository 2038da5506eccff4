package caddymodule

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-intents/caddy-intents/intent"
)

// Exit codes of the commands, for scripts. Caddy itself has 0 to 3.
const (
	exitNone     = 4  // there is no such intent, or message
	exitConflict = 5  // it has ended, or cannot be done for another reason that lies in the intent
	exitFailed   = 10 // the intent ended as FAILED
	exitCanceled = 11
	exitTimedOut = 12
	exitRunning  = 13 // it has not ended (yet)
)

// An exit is an error with an exit code.
type exit struct {
	code int
	err  error // nil if there is nothing to say
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exiting with status %d", e.code)
	}
	return e.err.Error()
}

// exits makes the function of a command one whose errors have exit codes.
func exits(run func(cmd *cobra.Command, args []string) error) func(cmd *cobra.Command, args []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		code := exitCode(err)
		if code <= 1 {
			return err
		}
		cmd.SilenceErrors = true
		if e, ok := errors.AsType[*exit](err); !ok || e.err != nil {
			cmd.PrintErrln("Error:", err)
		}
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, args)
	}
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*exit](err); ok {
		return e.code
	}
	if e, ok := errors.AsType[*adminError](err); ok {
		switch e.status {
		case http.StatusNotFound:
			return exitNone
		case http.StatusConflict, http.StatusBadGateway:
			return exitConflict
		}
	}
	return 1
}

// exitOf is the exit code for how an intent stands.
func exitOf(s intent.Status) int {
	switch s {
	case intent.Completed:
		return 0
	case intent.Failed:
		return exitFailed
	case intent.Canceled:
		return exitCanceled
	case intent.TimedOut:
		return exitTimedOut
	}
	return exitRunning
}

// endedAs is the error for how an intent stands: nil if it is COMPLETED.
func endedAs(s intent.Status) error {
	if code := exitOf(s); code != 0 {
		return &exit{code: code}
	}
	return nil
}
