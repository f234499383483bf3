package uml

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Tools returns a folder in the cache below which those of the packages that are not installed
// here are unpacked, with the libraries that they need and that are not installed either: there
// already, or fetched now. Nothing is installed. The error is an *Unavailable if they cannot be
// had.
func (r *Rig) Tools(ctx context.Context, names ...string) (string, error) {
	if lacking := missing("apt-get", "apt-cache", "dpkg-deb", "dpkg-query"); lacking != nil {
		return "", unavailable(nil, "without %s Debian's packages %s cannot be fetched", strings.Join(lacking, ", "), strings.Join(names, ", "))
	}
	absent, err := notInstalled(ctx, names)
	if err != nil {
		return "", unavailable(err, "the packages %s are unknown here", strings.Join(names, ", "))
	}
	sum := sha256.Sum256([]byte(strings.Join(absent, " ")))
	return publish(ctx, r.dir, fmt.Sprintf("tools-%.8x", sum[:]), func(tmp string) error {
		if len(absent) == 0 {
			return nil
		}
		r.say("fetching %d of Debian's packages: %s", len(absent), strings.Join(absent, " "))
		debs, err := downloadAll(ctx, tmp, absent)
		if err != nil {
			return unavailable(err, "the packages %s cannot be had", strings.Join(names, ", "))
		}
		for _, deb := range debs {
			if err := unpack(ctx, deb, tmp); err != nil {
				return err
			}
			if err := os.Remove(deb); err != nil {
				return err
			}
		}
		return nil
	})
}

// notInstalled are the packages, and the libraries that they need, which this machine does not
// have.
func notInstalled(ctx context.Context, names []string) ([]string, error) {
	list := func() (string, error) {
		return output(ctx, "", "apt-cache", append([]string{"depends", "--recurse", "--no-recommends", "--no-suggests",
			"--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}, names...)...)
	}
	needed, err := list()
	if err != nil && update(ctx) { // a fresh container has no lists
		needed, err = list()
	}
	if err != nil {
		return nil, err
	}
	text, err := output(ctx, "", "dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n")
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "installed "); ok {
			have[name] = true
		}
	}
	var absent []string
	for line := range strings.Lines(needed) { // a package's name begins a line, what it depends on is indented
		name := strings.TrimRight(line, "\n")
		wanted := slices.Contains(names, name) || strings.HasPrefix(name, "lib")
		if wanted && !have[name] && !slices.Contains(absent, name) {
			absent = append(absent, name)
		}
	}
	slices.Sort(absent)
	return absent, nil
}
