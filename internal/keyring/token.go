package keyring

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// An observe token lets whoever has it read one intent until a time, and do nothing
// else. It goes into URLs, so it is short: 28 characters. The intent's id is not in
// it, but in what is signed:
//
//	version 1 | expiry 4, Unix seconds | MAC of version, expiry and id 16
const (
	tokenVersion = 1
	tokenHead    = 1 + 4
	tokenTag     = 16
	tokenSize    = tokenHead + tokenTag
)

// Token returns a token for an intent.
func (k *Keyring) Token(id [16]byte, expires time.Time) string {
	token := make([]byte, 0, tokenSize)
	token = append(token, tokenVersion)
	token = binary.BigEndian.AppendUint32(token, uint32(expires.Unix()))
	token = append(token, k.slots[0].tag(token, id)...)
	return base64.RawURLEncoding.EncodeToString(token)
}

// Verify reports whether a token is one for this intent that has not expired, and
// when it does. It takes as long for a bad one as for a good one of the same length.
func (k *Keyring) Verify(token string, id [16]byte, now time.Time) (expires time.Time, ok bool) {
	raw := parseToken(token)
	if raw == nil {
		return time.Time{}, false
	}
	for _, s := range k.slots {
		ok = hmac.Equal(raw[tokenHead:], s.tag(raw[:tokenHead], id)) || ok
	}
	expires = expiryOf(raw)
	if !ok || !now.Before(expires) {
		return time.Time{}, false
	}
	return expires, true
}

// Says is until when a token says that it is good, whoever has made it: nothing that
// depends on a secret is told.
func (k *Keyring) Says(token string) (expires time.Time, ok bool) {
	raw := parseToken(token)
	if raw == nil {
		return time.Time{}, false
	}
	return expiryOf(raw), true
}

// parseToken returns the bytes of a token, nil if it is none.
func parseToken(token string) []byte {
	if len(token) != base64.RawURLEncoding.EncodedLen(tokenSize) {
		return nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != tokenSize || raw[0] != tokenVersion {
		return nil
	}
	return raw
}

func expiryOf(raw []byte) time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(raw[1:])), 0)
}

func (s *slot) tag(head []byte, id [16]byte) []byte {
	h := hmac.New(sha256.New, s.token)
	h.Write(head)
	h.Write(id[:])
	return h.Sum(nil)[:tokenTag]
}
