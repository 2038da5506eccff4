//go:build backends

package backends_test

import (
	"archive/tar"
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-intents/caddy-intents/intent"
)

// TestLXD imports images, which needs no container.
func TestLXD(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "unix.socket")
	startBoxed(t, "lxd/start", dir).serves("unix", socket)
	s := serve(t, "lxd", "LXD_SOCKET="+socket)
	var server struct {
		Metadata struct {
			Environment struct {
				Version string `json:"server_version"`
			}
		}
	}
	s.read(&server, "GET", "/1.0", "")
	t.Log("LXD", server.Metadata.Environment.Version)

	image := emptyImage(t)
	imported := s.submit("/1.0/images", image)
	require.Contains(t, string(imported.ends(intent.Completed).Result), `"fingerprint"`)

	again := s.submit("/1.0/images", image)
	require.Contains(t, again.ends(intent.Failed).Error.Message, "already exists")

	slow := s.submit("/1.0/images", `{"source": {"type": "url", "url": "http://`+boxed+`/image"}}`)
	// Before the first byte has come LXD says that it cannot be canceled.
	slow.until(func(e intent.Event) bool { return e.Details.Progress != nil })
	s.ask("DELETE", "/1.0/operations/"+filepath.Base(slow.jobID), "")
	slow.ends(intent.Canceled)
}

// emptyImage is an image for containers with nothing in it.
func emptyImage(t *testing.T) string {
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	metadata := "architecture: x86_64\ncreation_date: 1\n"
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "metadata.yaml", Mode: 0o644, Size: int64(len(metadata))}))
	_, err := w.Write([]byte(metadata))
	require.NoError(t, err)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "rootfs/", Typeflag: tar.TypeDir, Mode: 0o755}))
	require.NoError(t, w.Close())
	return image.String()
}
