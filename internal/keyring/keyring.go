// Package keyring makes everything of one secret that keys are needed for: names
// for owners that tell nobody who they are, observe tokens, and sealed values.
//
// The secret has two slots. The current one makes; both are accepted. So a secret
// is changed by moving the old one to the second slot and dropping it when nothing
// that it made is of use any more: tokens after their hour, intents after their
// retention. Whatever is made says which key made it, or is tried with both.
//
// No key does two things: each is derived (HKDF, RFC 5869) from the secret and a
// word for its purpose.
package keyring

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"
)

// MinSecret is the length of the shortest secret, in bytes.
const MinSecret = 32

// A Keyring has the keys of one or two secrets. It may be used by any number of
// goroutines.
type Keyring struct {
	slots []*slot // the current one first
}

// A slot is one secret, ready to derive keys from.
type slot struct {
	root  []byte // what HKDF extracted
	id    [keyIDSize]byte
	token []byte
	macs  sync.Map // *sync.Pool of hash.Hash, by purpose, of which there are few: a key costs more to derive than what it makes
}

// New returns the keyring of a current and a previous secret. The previous one may
// be empty.
func New(current, previous []byte) (*Keyring, error) {
	k := new(Keyring)
	for _, secret := range [][]byte{current, previous} {
		if len(secret) == 0 && len(k.slots) > 0 {
			continue
		}
		if len(secret) < MinSecret {
			return nil, fmt.Errorf("the secret has %d bytes; it needs %d or more", len(secret), MinSecret)
		}
		s, err := newSlot(secret)
		if err != nil {
			return nil, err
		}
		k.slots = append(k.slots, s)
	}
	return k, nil
}

func newSlot(secret []byte) (*slot, error) {
	root, err := hkdf.Extract(sha256.New, secret, []byte("caddy-intents"))
	if err != nil {
		return nil, fmt.Errorf("extracting a key from the secret: %w", err)
	}
	s := &slot{root: root}
	copy(s.id[:], s.key("id"))
	s.token = s.key("token")
	return s, nil
}

// key derives the key for a purpose.
func (s *slot) key(purpose string) []byte {
	key, err := hkdf.Expand(sha256.New, s.root, purpose, sha256.Size)
	if err != nil {
		panic("keyring: " + err.Error()) // only for a length that is asked for nowhere
	}
	return key
}

// MAC is a name for parts that nobody can make, or make out, without the secret.
// Other parts have another name, however they are cut: ("ab", "c") is not ("a", "bc").
func (k *Keyring) MAC(purpose string, parts ...string) string {
	return k.slots[0].mac(purpose, parts)
}

// MACs are the names under all secrets, that of the current one first.
func (k *Keyring) MACs(purpose string, parts ...string) []string {
	macs := make([]string, len(k.slots))
	for i, s := range k.slots {
		macs[i] = s.mac(purpose, parts)
	}
	return macs
}

func (s *slot) mac(purpose string, parts []string) string {
	var all []byte
	for _, part := range parts {
		all = binary.BigEndian.AppendUint64(all, uint64(len(part)))
		all = append(all, part...)
	}
	pool := s.hashes(purpose)
	h := pool.Get().(hash.Hash)
	defer pool.Put(h)
	h.Reset()
	h.Write(all)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// hashes are ready to make MACs for a purpose.
func (s *slot) hashes(purpose string) *sync.Pool {
	if pool, ok := s.macs.Load(purpose); ok {
		return pool.(*sync.Pool)
	}
	key := s.key("mac " + purpose)
	pool, _ := s.macs.LoadOrStore(purpose, &sync.Pool{New: func() any { return hmac.New(sha256.New, key) }})
	return pool.(*sync.Pool)
}
