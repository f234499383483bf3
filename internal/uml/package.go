package uml

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Package returns the folder below which a package of the distribution is unpacked, in the
// cache: there already, or fetched now. What size says is for the person who waits. Nothing of
// the package is run, nor installed. The error is an *Unavailable if it cannot be had.
func (r *Rig) Package(ctx context.Context, name, size string) (string, error) {
	if cached, _ := filepath.Glob(filepath.Join(r.dir, "package-"+name+"_*")); len(cached) > 0 {
		return cached[len(cached)-1], nil
	}
	if names := missing("apt-get", "dpkg-deb"); names != nil {
		return "", unavailable(nil, "without %s Debian's package %s cannot be fetched", strings.Join(names, " and "), name)
	}
	had, err := versions(ctx, name)
	if err != nil {
		return "", unavailable(err, "the package %s is unknown here", name)
	}
	// A version may have a colon, which a path on a command line had better not.
	folder := fmt.Sprintf("package-%s_%s", name, strings.ReplaceAll(had[0], ":", "%3a"))
	return publish(ctx, r.dir, folder, func(tmp string) error {
		r.say("fetching Debian's package %s=%s, %s", name, had[0], size)
		deb, err := download(ctx, tmp, name+"="+had[0])
		if err != nil {
			return unavailable(err, "the package %s cannot be had", name)
		}
		if err := unpack(ctx, deb, tmp); err != nil {
			return err
		}
		return os.Remove(deb)
	})
}
