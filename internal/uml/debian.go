package uml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// download fetches a package of the distribution, NAME or NAME=VERSION, into dir with the
// system's own client, which checks its signature. It needs no root.
func download(ctx context.Context, dir, name string) (string, error) {
	found, err := downloadAll(ctx, dir, []string{name})
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// downloadAll is download for packages that are fetched together.
func downloadAll(ctx context.Context, dir string, names []string) ([]string, error) {
	args := append([]string{"-q", "download"}, names...)
	_, err := output(ctx, dir, "apt-get", args...)
	if err != nil && update(ctx) { // old lists point to files that are gone
		_, err = output(ctx, dir, "apt-get", args...)
	}
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err == nil && len(found) != len(names) {
		err = fmt.Errorf("apt-get download %s left %d files", strings.Join(names, " "), len(found))
	}
	return found, err
}

// field returns a field of a package's description.
func field(ctx context.Context, deb, name string) (string, error) {
	text, err := output(ctx, "", "dpkg-deb", "-f", deb, name)
	return strings.TrimSpace(text), err
}

// unpack unpacks a package below dir.
func unpack(ctx context.Context, deb, dir string) error {
	_, err := output(ctx, "", "dpkg-deb", "-x", deb, dir)
	return err
}

// versions lists the versions of a package that the distribution has now, the newest first.
func versions(ctx context.Context, name string) ([]string, error) {
	text, err := output(ctx, "", "apt-cache", "madison", name)
	if err == nil && text == "" && update(ctx) { // a fresh container has no lists
		text, err = output(ctx, "", "apt-cache", "madison", name)
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(text) { // linux-source-6.1 | 6.1.176-1 | http://…
		if parts := strings.Split(line, "|"); len(parts) == 3 {
			found = append(found, strings.TrimSpace(parts[1]))
		}
	}
	if len(found) == 0 {
		return nil, errors.New("the distribution has no package " + name)
	}
	return found, nil
}

// update renews the lists of packages, which only root may, and reports whether it did.
func update(ctx context.Context) bool {
	if ctx.Err() != nil || os.Geteuid() != 0 {
		return false
	}
	_, err := output(ctx, "", "apt-get", "-q", "update")
	return err == nil
}
