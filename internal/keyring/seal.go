package keyring

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

// A sealed value is XChaCha20-Poly1305 with a random nonce, bound to the intent and
// the field that it belongs to: it opens nowhere else.
//
//	version 1 | key id 4 | nonce 24 | ciphertext and tag
const (
	sealVersion = 1
	keyIDSize   = 4
	sealHead    = 1 + keyIDSize + chacha20poly1305.NonceSizeX
)

// ErrSealed is returned by [Keyring.Open] for whatever it cannot open: sealed with
// a secret that is gone, for something else, or damaged.
var ErrSealed = errors.New("the value cannot be opened with this secret")

// Seal encrypts a field of an intent.
func (k *Keyring) Seal(id [16]byte, field string, value []byte) []byte {
	s := k.slots[0]
	sealed := make([]byte, sealHead, sealHead+len(value)+chacha20poly1305.Overhead)
	sealed[0] = sealVersion
	copy(sealed[1:], s.id[:])
	nonce := sealed[sealHead-chacha20poly1305.NonceSizeX:]
	_, _ = rand.Read(nonce) // never fails: crypto/rand ends the process instead
	return s.aead().Seal(sealed, nonce, value, s.bound(id, field))
}

// Open decrypts what Seal made for this field of this intent.
func (k *Keyring) Open(id [16]byte, field string, sealed []byte) ([]byte, error) {
	if len(sealed) < sealHead || sealed[0] != sealVersion {
		return nil, ErrSealed
	}
	nonce := sealed[1+keyIDSize : sealHead]
	for _, s := range k.slots {
		if [keyIDSize]byte(sealed[1:]) != s.id {
			continue
		}
		if value, err := s.aead().Open(nil, nonce, sealed[sealHead:], s.bound(id, field)); err == nil {
			return value, nil
		}
	}
	return nil, ErrSealed
}

func (s *slot) aead() cipher.AEAD {
	aead, err := chacha20poly1305.NewX(s.key("seal"))
	if err != nil {
		panic("keyring: " + err.Error()) // only for a key of another length
	}
	return aead
}

// bound is what is authenticated besides the value. The field comes last and after
// its length, so that nothing else reads the same.
func (s *slot) bound(id [16]byte, field string) []byte {
	return slices.Concat([]byte{sealVersion}, s.id[:], id[:],
		binary.BigEndian.AppendUint64(nil, uint64(len(field))), []byte(field))
}
