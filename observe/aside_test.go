package observe

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsDoneAsidePanicsHere(t *testing.T) {
	require.Equal(t, 7, aside(func() int { return 7 }))
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { aside(func() int { panic(http.ErrAbortHandler) }) })
}
