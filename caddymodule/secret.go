package caddymodule

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-intents/caddy-intents/internal/keyring"
)

// secretKey is where a secret of our own making is in Caddy's storage.
const secretKey = "intents/secret"

// minSecret is how long a secret is at least, in bytes.
const minSecret = 32

// resolveSecrets replaces placeholders in the configured secrets and checks them.
func resolveSecrets(written []string) ([][]byte, error) {
	if len(written) > 2 {
		return nil, errors.New("secret: there can be two, the current one and the one before")
	}
	repl := caddy.NewReplacer()
	var secrets [][]byte
	for _, w := range written {
		s, err := repl.ReplaceOrErr(w, true, true)
		if err != nil {
			return nil, fmt.Errorf("secret: %w", err)
		}
		if len(s) < minSecret {
			return nil, fmt.Errorf("secret: it has %d bytes and needs %d; make one with `openssl rand -hex 32`", len(s), minSecret)
		}
		secrets = append(secrets, []byte(s))
	}
	return secrets, nil
}

// ownSecret returns the secret in Caddy's storage, and makes it if there is none.
// The lock keeps two Caddys on one storage from making two.
func ownSecret(ctx context.Context, storage certmagic.Storage) ([]byte, error) {
	if err := storage.Lock(ctx, secretKey); err != nil {
		return nil, fmt.Errorf("locking the secret in Caddy's storage: %w", err)
	}
	defer func() { _ = storage.Unlock(context.WithoutCancel(ctx), secretKey) }()
	stored, err := storage.Load(ctx, secretKey)
	switch {
	case err == nil && len(stored) >= minSecret:
		return stored, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("loading the secret from Caddy's storage: %w", err)
	}
	random := make([]byte, minSecret)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the process instead
	secret := []byte(hex.EncodeToString(random))
	if err := storage.Store(ctx, secretKey, secret); err != nil {
		return nil, fmt.Errorf("storing a secret in Caddy's storage: %w", err)
	}
	return secret, nil
}

// keys makes the keyring of the configured secrets, or of the own one.
func (a *App) makeKeys(ctx context.Context) (*keyring.Keyring, error) {
	secrets := a.secrets
	if len(secrets) == 0 {
		own, err := ownSecret(ctx, a.storage)
		if err != nil {
			return nil, err
		}
		secrets = [][]byte{own}
	}
	var previous []byte
	if len(secrets) == 2 {
		previous = secrets[1]
	}
	return keyring.New(secrets[0], previous)
}
