package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-intents/caddy-intents/internal/keyring"
)

// secretKey is where a secret of our own making is in Caddy's storage.
const secretKey = "intents/secret"

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
		if len(s) < keyring.MinSecret {
			return nil, fmt.Errorf("secret: it has %d bytes and needs %d; make one with `openssl rand -hex 32`", len(s), keyring.MinSecret)
		}
		secrets = append(secrets, []byte(s))
	}
	return secrets, nil
}

// secretTimeout is how long Caddy's storage may take for the secret; a config must
// not hang on it.
const secretTimeout = 30 * time.Second

// ownSecret returns the secret in Caddy's storage, and makes it if there is none.
// The lock keeps two Caddys on one storage from making two.
func ownSecret(ctx context.Context, storage certmagic.Storage) ([]byte, error) {
	if stored, err := loadSecret(ctx, storage); err != nil || stored != nil {
		return stored, err
	}
	if err := storage.Lock(ctx, secretKey); err != nil {
		return nil, fmt.Errorf("locking the secret in Caddy's storage: %w", err)
	}
	defer func() { _ = storage.Unlock(context.WithoutCancel(ctx), secretKey) }()
	if stored, err := loadSecret(ctx, storage); err != nil || stored != nil {
		return stored, err
	}
	secret := make([]byte, keyring.MinSecret)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the process instead
	if err := storage.Store(ctx, secretKey, secret); err != nil {
		return nil, fmt.Errorf("keeping a secret in Caddy's storage: %w", err)
	}
	return secret, nil
}

// loadSecret returns the stored secret, nil if there is none. One that is too short
// is not replaced: whatever cut it off, the rest of it may come back.
func loadSecret(ctx context.Context, storage certmagic.Storage) ([]byte, error) {
	stored, err := storage.Load(ctx, secretKey)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("loading the secret from Caddy's storage: %w", err)
	case len(stored) < keyring.MinSecret:
		return nil, fmt.Errorf("the secret in Caddy's storage (%s) is damaged; restore it or remove it", secretKey)
	}
	return stored, nil
}

// makeKeys makes the keyring of the configured secrets, or of the own one.
func (a *App) makeKeys() (*keyring.Keyring, error) {
	secrets := a.secrets
	if len(secrets) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), secretTimeout)
		defer cancel()
		own, err := ownSecret(ctx, a.storage)
		if err != nil {
			return nil, fmt.Errorf("secret: %w (or write `secret` in the global option intents)", err)
		}
		secrets = [][]byte{own}
	}
	var previous []byte
	if len(secrets) == 2 {
		previous = secrets[1]
	}
	return keyring.New(secrets[0], previous)
}
