package uml

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sourceParts is what of the kernel's source a module needs that is built outside of it: a
// twentieth of the whole.
var sourceParts = []string{
	"Makefile", "Kbuild", "include", "scripts", "arch/um", "arch/x86", "kernel/bounds.c", "kernel/time",
	"security/selinux/include", "tools/include", "lib/vdso",
	// What is built, by our tests or this package.
	"drivers/char/hw_random", "drivers/virtio", "net/9p",
}

// SourceTree returns the kernel's source, as far as [Rig.BuildModule] needs it, of exactly the
// kernel's version and configuration and ready for the building of modules. The first time it
// fetches the distribution's package of it (139 MB) and unpacks some of that.
func (r *Rig) SourceTree(ctx context.Context) (string, error) {
	return publish(ctx, r.dir, "source-"+r.Source, func(tmp string) error {
		if names := missing("dpkg-deb", "tar", "xz", "make", "gcc", "bc"); names != nil {
			return unavailable(nil, "kernel modules cannot be built without %s", strings.Join(names, ", "))
		}
		if err := r.fetchSource(ctx, tmp); err != nil {
			return err
		}
		if err := configure(r.config, tmp); err != nil {
			return err
		}
		r.say("preparing the source of Linux %s for building modules", r.Release)
		_, err := output(ctx, tmp, "make", "ARCH=um", "-j2", "modules_prepare")
		return err
	})
}

// fetchSource unpacks the source package into dir.
func (r *Rig) fetchSource(ctx context.Context, dir string) error {
	// linux-source-6.1 holds many versions in turn; only the kernel's own will do.
	parts := strings.SplitN(r.Release, ".", 3)
	if len(parts) < 2 {
		return fmt.Errorf("the kernel calls itself %q", r.Release)
	}
	name := "linux-source-" + parts[0] + "." + parts[1]
	r.say("fetching Debian's package %s=%s, 139 MB", name, r.Source)
	deb, err := download(ctx, dir, name+"="+r.Source)
	if err != nil {
		had, listErr := versions(ctx, name)
		if listErr == nil && !slices.Contains(had, r.Source) {
			return unavailable(nil, "the source %s=%s, of which the kernel was made, is gone from the distribution, which now has %s: its missing modules cannot be built",
				name, r.Source, strings.Join(had, ", "))
		}
		return unavailable(err, "the package %s=%s cannot be had", name, r.Source)
	}
	r.say("unpacking it")
	if err := unpack(ctx, deb, dir); err != nil {
		return err
	}
	args := []string{"-xJf", filepath.Join(dir, "usr/src", name+".tar.xz"), "-C", dir, "--strip-components=1"}
	for _, part := range sourceParts {
		args = append(args, name+"/"+part)
	}
	if _, err := output(ctx, dir, "tar", args...); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, "usr/src")); err != nil {
		return err
	}
	return os.Remove(deb)
}

// configure gives the tree the kernel's configuration as it is. The kernel's own configurator
// would do that too, but it needs a parser generator to be built, and it amends what it reads
// to suit the compiler that it finds.
func configure(config, dir string) error {
	f, err := os.Open(config)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", config, err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return fmt.Errorf("%s: %w", config, err)
	}
	forMake, forC := configFiles(string(text))
	for _, sub := range []string{"include/config", "include/generated"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	// In this order: make rewrites what is older than .config.
	for _, file := range []struct{ name, text string }{
		{".config", string(text)},
		{"include/config/auto.conf.cmd", ""},
		{"include/config/auto.conf", forMake},
		{"include/generated/autoconf.h", forC},
	} {
		if err := os.WriteFile(filepath.Join(dir, file.name), []byte(file.text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// configFiles returns a configuration as the kernel's makefiles and its C code read it.
func configFiles(config string) (forMake, forC string) {
	var mk, c strings.Builder
	for line := range strings.Lines(config) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || !strings.HasPrefix(key, "CONFIG_") {
			continue
		}
		fmt.Fprintf(&mk, "%s=%s\n", key, strings.Trim(value, `"`))
		switch value {
		case "y":
			fmt.Fprintf(&c, "#define %s 1\n", key)
		case "m":
			fmt.Fprintf(&c, "#define %s_MODULE 1\n", key)
		default:
			fmt.Fprintf(&c, "#define %s %s\n", key, value)
		}
	}
	return mk.String(), c.String()
}
