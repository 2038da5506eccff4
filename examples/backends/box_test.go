//go:build backends

package backends_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// inBox in the environment makes the test binary the first process of a box.
const inBox = "INTENTS_TEST_IN_BOX"

// startBoxed runs the script of a folder in a box: namespaces of its own. It sees no
// network but its own loopback, nobody else sees what it mounts, and nothing that it
// starts outlives it. Its sockets are files, and so within reach.
func startBoxed(t *testing.T, script string, args ...string) *server {
	t.Helper()
	cmd := exec.Command("unshare", append([]string{"--net", "--uts", "--ipc", "--cgroup", "--mount", "--pid",
		"--mount-proc", "--fork", "--kill-child", os.Args[0], script}, args...)...)
	cmd.Env = append(os.Environ(), inBox+"=1")
	return start(t, cmd)
}

// box is the first process in a box: it runs a command and serves files beside it.
func box(command []string) int {
	l, err := net.Listen("tcp", boxed)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go http.Serve(l, files())
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// boxed is where the files are, as seen in the box.
const boxed = "127.0.0.1:8000"

// files serves what jobs that download need. /file is a file, what is below /slow/
// never comes to its end, and /image names an image there in the way of LXD.
func files() http.Handler {
	const size = 64 << 20
	mux := http.NewServeMux()
	mux.HandleFunc("/file", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a file") })
	mux.HandleFunc("/image", func(w http.ResponseWriter, _ *http.Request) {
		sum := sha256.Sum256(nil) // of nothing: it is never compared
		w.Header().Set("LXD-Image-Hash", hex.EncodeToString(sum[:]))
		w.Header().Set("LXD-Image-URL", "http://"+boxed+"/slow/image")
	})
	mux.HandleFunc("/slow/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for chunk := make([]byte, size/1000); ; {
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
			if _, err := w.Write(chunk); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	})
	return mux
}
