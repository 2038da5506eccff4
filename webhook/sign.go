package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/store"
)

// A Secret is what a receiver knows a message to be ours by.
type Secret []byte

// Bounds of a secret that Standard Webhooks sets, in bytes.
const (
	minSecret = 24
	maxSecret = 64
)

// ErrSecret says what a secret has to look like.
var ErrSecret = errors.New("write whsec_ and the base64 of 24 to 64 random bytes, for example from `openssl rand -base64 32`")

// ParseSecret reads a secret as receivers are given it, with or without its prefix.
func ParseSecret(s string) (Secret, error) {
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
	if err != nil || len(secret) < minSecret || len(secret) > maxSecret {
		return nil, ErrSecret
	}
	return secret, nil
}

// sign is the value of webhook-signature.
func (s Secret) sign(id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, s)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + ".")) // a hash never fails
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// IDOf is the value of webhook-id: the same for every try of a message, and another for
// every other message.
func IDOf(m store.MessageID) string {
	to := sha256.Sum256([]byte(m.To))
	return "msg_" + m.Intent.String() + "_" + strconv.FormatInt(m.Seq, 10) + "_" + hex.EncodeToString(to[:6])
}

// bodyOf is what a receiver gets.
func bodyOf(m *store.Message) ([]byte, error) {
	return json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      any       `json:"data"`
	}{string(m.Event.Type), m.Event.At.UTC(), struct {
		Job   string `json:"job"`
		Event any    `json:"event"`
	}{m.Job, m.Event}})
}
