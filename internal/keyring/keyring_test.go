package keyring

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	id    = [16]byte{0x6b, 0x05, 0x2a, 0xf7, 0x00, 0x83, 0x8b, 0x11, 0xaa, 0x04, 0xfd, 0xa8, 0x65, 0x33, 0xa4, 0x1d}
	other = [16]byte{0x6b, 0x05, 0x2a, 0xf7, 0x00, 0x83, 0x8b, 0x11, 0xaa, 0x04, 0xfd, 0xa8, 0x65, 0x33, 0xa4, 0x1e}

	expiry = time.Unix(1_800_000_000, 0)
	before = expiry.Add(-time.Minute)
)

// secret is 32 bytes that differ with n.
func secret(n byte) []byte {
	s := make([]byte, MinSecret)
	for i := range s {
		s[i] = n + byte(i)
	}
	return s
}

func ring(t testing.TB, current, previous []byte) *Keyring {
	t.Helper()
	k, err := New(current, previous)
	require.NoError(t, err)
	return k
}

// The vectors were made by another implementation (Python's hmac and cryptography,
// with HChaCha20 written out). They hold the formats still: a change of one makes
// owners, tokens and sealed values of running installations unreadable.
func TestVectors(t *testing.T) {
	k := ring(t, secret(0), nil)
	require.Equal(t, "Nz21XYE16YPkPpyN0hOxrTsWlMI-23SDGmqVA-7suxQ", k.MAC("owner", "default", "alice"))
	require.Equal(t, "bjol-DbzM9XBuQcW7ZMuybRzZMht80vKIvIiYcTWrao", k.MAC("owner"))
	require.Equal(t, "AWtJ0gDyoGQIQACN4aN0btCFUzBS", k.Token(id, expiry))
	sealed, err := hex.DecodeString("01d8c074976465666768696a6b6c6d6e6f707172737475767778797a7bd2f64a259700486801fc55094cb364aee87537bdd493a0d719e3ad1c46")
	require.NoError(t, err)
	value, err := k.Open(id, "headers", sealed)
	require.NoError(t, err)
	require.Equal(t, "Bearer canary", string(value))
}

func TestAShortSecretIsRefused(t *testing.T) {
	for _, c := range [][2][]byte{{nil, nil}, {secret(0)[1:], nil}, {secret(0), secret(1)[1:]}, {nil, secret(0)}} {
		_, err := New(c[0], c[1])
		require.ErrorContains(t, err, "needs 32 or more")
	}
}

func TestPartsAreNotConfused(t *testing.T) {
	k := ring(t, secret(0), nil)
	names := []string{
		k.MAC("owner", "a", "bc"), k.MAC("owner", "ab", "c"), k.MAC("owner", "abc"), k.MAC("owner", "abc", ""),
		k.MAC("owner", "", "abc"), k.MAC("owner"), k.MAC("owner", ""), k.MAC("owne", "r", "abc"), k.MAC("client", "a", "bc"),
		k.MAC("owner", "a\x00\x00\x00\x00\x00\x00\x00\x02bc"),
		ring(t, secret(1), nil).MAC("owner", "a", "bc"),
	}
	slices.Sort(names)
	require.Len(t, slices.Compact(names), 11)
}

func TestRotationKeepsWhatThePreviousSecretMade(t *testing.T) {
	old := ring(t, secret(0), nil)
	owner, token, sealed := old.MAC("owner", "alice"), old.Token(id, expiry), old.Seal(id, "f", []byte("v"))

	rotated := ring(t, secret(1), secret(0))
	require.Equal(t, []string{rotated.MAC("owner", "alice"), owner}, rotated.MACs("owner", "alice"))
	require.NotEqual(t, owner, rotated.MAC("owner", "alice"))
	_, ok := rotated.Verify(token, id, before)
	require.True(t, ok)
	value, err := rotated.Open(id, "f", sealed)
	require.NoError(t, err)
	require.Equal(t, "v", string(value))

	gone := ring(t, secret(2), secret(1))
	require.NotContains(t, gone.MACs("owner", "alice"), owner)
	_, ok = gone.Verify(token, id, before)
	require.False(t, ok)
	_, err = gone.Open(id, "f", sealed)
	require.ErrorIs(t, err, ErrSealed)
	require.Contains(t, gone.MACs("owner", "alice"), rotated.MAC("owner", "alice"), "what the second slot made then")
}

func TestATokenIsForOneIntentUntilItsTime(t *testing.T) {
	k := ring(t, secret(0), nil)
	token := k.Token(id, expiry)
	require.LessOrEqual(t, len(token), 28)
	until, ok := k.Verify(token, id, before)
	require.True(t, ok)
	require.True(t, until.Equal(expiry))
	for _, c := range []struct {
		token string
		id    [16]byte
		now   time.Time
	}{
		{token, other, before},
		{token, id, expiry},
		{token, id, expiry.Add(time.Hour)},
		{"", id, before},
		{token[:27], id, before},
		{token + "A", id, before},
		{token[:8] + "A" + token[9:], id, before},
		{ring(t, secret(1), nil).Token(id, expiry), id, before},
		{k.Token(id, expiry.Add(time.Second))[:7] + token[7:], id, before}, // a later time under the same signature
	} {
		_, ok := k.Verify(c.token, c.id, c.now)
		require.False(t, ok, "%+v", c)
	}
}

func TestASealedValueOpensInItsPlaceOnly(t *testing.T) {
	k := ring(t, secret(0), nil)
	value := []byte("Bearer canary")
	sealed := k.Seal(id, "headers", value)
	require.NotContains(t, string(sealed), "canary")
	require.NotEqual(t, sealed, k.Seal(id, "headers", value), "a nonce of its own")
	opened, err := k.Open(id, "headers", sealed)
	require.NoError(t, err)
	require.Equal(t, value, opened)
	for i := range sealed {
		damaged := bytes.Clone(sealed)
		damaged[i] ^= 1
		_, err := k.Open(id, "headers", damaged)
		require.ErrorIs(t, err, ErrSealed, "byte %d", i)
		_, err = k.Open(id, "headers", sealed[:i])
		require.ErrorIs(t, err, ErrSealed, "cut at %d", i)
	}
	_, err = k.Open(other, "headers", sealed)
	require.ErrorIs(t, err, ErrSealed)
	_, err = k.Open(id, "header", sealed)
	require.ErrorIs(t, err, ErrSealed)
}

func TestAnEmptyValueCanBeSealed(t *testing.T) {
	k := ring(t, secret(0), nil)
	value, err := k.Open(id, "", k.Seal(id, "", nil))
	require.NoError(t, err)
	require.Empty(t, value)
}

// Whatever is fed in, only what was sealed is let through. The fuzzer's processes
// seal the value each for itself, with another nonce: what opens is the value, or
// nothing does.
func FuzzOpen(f *testing.F) {
	k := ring(f, secret(0), secret(1))
	genuine := k.Seal(id, "headers", []byte("value"))
	f.Add(genuine)
	f.Add(genuine[:sealHead])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		value, err := k.Open(id, "headers", sealed)
		if err != nil {
			require.ErrorIs(t, err, ErrSealed)
			require.False(t, bytes.Equal(sealed, genuine))
			return
		}
		require.Equal(t, "value", string(value))
	})
}

func FuzzVerify(f *testing.F) {
	k := ring(f, secret(0), secret(1))
	genuine := []string{k.Token(id, expiry), ring(f, secret(1), nil).Token(id, expiry)}
	for _, token := range genuine {
		f.Add(token)
	}
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		_, ok := k.Verify(token, id, before)
		require.Equal(t, slices.Contains(genuine, token), ok)
	})
}

// BenchmarkSeal is what a body costs that is kept: to be sealed once, and to be opened for
// each delivery, or for each poll of a job whose expressions read it.
func BenchmarkSeal(b *testing.B) {
	k := ring(b, secret(0), secret(100))
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		body := make([]byte, size)
		sealed := k.Seal([16]byte{1}, "request body", body)
		b.Run(fmt.Sprintf("seal-%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				_ = k.Seal([16]byte{1}, "request body", body)
			}
		})
		b.Run(fmt.Sprintf("open-%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := k.Open([16]byte{1}, "request body", sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestWhatATokenSaysIsReadWhoeverHasMadeIt(t *testing.T) {
	mine, others := ring(t, secret(1), nil), ring(t, secret(2), nil)
	until := time.Unix(1_800_000_000, 0)
	expires, ok := mine.Says(others.Token([16]byte{1}, until))
	require.True(t, ok)
	require.Equal(t, until, expires)
	for _, token := range []string{"", "x", strings.Repeat("A", 28), strings.Repeat("!", 28)} {
		_, ok := mine.Says(token)
		require.False(t, ok, token)
	}
}
