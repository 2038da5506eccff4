package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-intents/caddy-intents/store/boltstore"
)

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup [--address <addr> | --config <path> [--adapter <name>]] [--store <address>] <file>",
		Short: "Copy the store of the running Caddy, while it works",
		Long: `
Fetches a copy of the store, as of one moment, from the admin endpoint of the running
Caddy. The copy is checked and synced before it gets its name; a file of that name
that is there already is not touched. To restore it, stop Caddy and put it in the
place of the store.`,
		Args:         cobra.ExactArgs(1),
		SilenceUsage: true,
		RunE:         runBackup,
	}
	addAdminFlags(cmd)
	return cmd
}

func runBackup(cmd *cobra.Command, args []string) error {
	file := args[0]
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s is there already; name another file", file)
	}
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	resp, err := c.ask(cmd.Context(), adminRequest{path: backupRoute})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read to its end, or is of no use
	size, err := keepBackup(file, resp)
	if err != nil {
		return fmt.Errorf("backing up to %s: %w", file, err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", file, bytesText(size))
	return err
}

// keepBackup gives a backup its name when it is whole and on the disk.
func keepBackup(file string, resp *http.Response) (size int64, err error) {
	part, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".part-*") // for its user only
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	size, err = io.Copy(part, resp.Body)
	if err == nil && size != resp.ContentLength {
		err = fmt.Errorf("got %d bytes of %d", size, resp.ContentLength)
	}
	if err = errors.Join(err, part.Sync(), part.Close()); err != nil {
		return 0, err
	}
	if err := boltstore.Check(part.Name()); err != nil {
		return 0, err
	}
	return size, os.Rename(part.Name(), file)
}

func compactCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "compact [<file>]",
		Short: "Give the room of removed intents back to the disk, while Caddy is stopped",
		Long: `
Writes the store anew without the free room in it, which Caddy itself only uses again
and never gives back. Without a file it is the one in Caddy's data directory. Caddy
must not have it open. The new file is checked against the old one before it takes its
place; if anything goes wrong the old one stays as it is.`,
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			file := storeFile(args)
			before, after, err := boltstore.Compact(file)
			if err != nil {
				return advised(err, file)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s before, %s after\n", file, bytesText(before), bytesText(after))
			return err
		},
	}
}

func moveAsideCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "move-aside [<file>]",
		Short: "Begin a new store in place of a damaged one",
		Long: `
Gives a store file that Caddy cannot open another name beside it; within seconds a
running Caddy begins a new store in its place. The intents in the damaged file are
unknown from then on: put a backup in its place instead if you have one. A file that is
not damaged stays where it is. Without a file it is the one in Caddy's data directory.`,
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			file := storeFile(args)
			to, err := boltstore.MoveAside(file, time.Now())
			if err != nil {
				return advised(err, file)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is %s now\n", file, to)
			return err
		},
	}
}

func storeFile(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return defaultStore()
}

// advised adds to an error about a damaged store what can be done.
func advised(err error, file string) error {
	if errors.Is(err, boltstore.ErrDamaged) {
		return fmt.Errorf("%w; put a backup in its place, or begin a new store with: caddy intents move-aside %s", err, file)
	}
	return err
}
