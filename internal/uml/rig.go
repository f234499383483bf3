package uml

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Rig is a kernel that can be booted. It is not changed after Prepare, and safe for concurrent
// use; so are the files behind it, by several processes.
type Rig struct {
	// Release is the kernel's version, as uname -r prints it: 6.1.176.
	Release string
	// Source is the version of the distribution's source package that the kernel was made
	// from, to the letter: 6.1.176-1.
	Source string

	dir      string // of the cache
	kernel   string // the program
	config   string // what it was configured with, compressed
	vermagic string
	modules  map[string]string // file of each stock module by name
	say      func(format string, args ...any)

	// machine is how the kernel is started; descriptor 3 of the process is the line to talk over,
	// and it prints what the kernel does.
	machine func(r *Rig, dir, initramfs string, c Config) (program string, args []string)
}

// Prepare finds the kernel: in the cache, installed, or in the distribution's package, which it
// then unpacks into the cache. What takes time is said, a sentence at a time. The error is an
// *Unavailable if this machine cannot have it.
func Prepare(ctx context.Context, say func(format string, args ...any)) (*Rig, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return nil, unavailable(nil, "User-Mode Linux runs on Linux on x86 only, this is %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	r := &Rig{dir: dir, say: say, machine: umlCommand}
	root, err := r.findKernel(ctx)
	if err != nil {
		return nil, err
	}
	r.kernel = filepath.Join(root, kernelFile)
	r.config = filepath.Join(root, configFile)
	release, err := output(ctx, "", r.kernel, "--version")
	if err != nil {
		return nil, unavailable(err, "the User-Mode Linux kernel does not run on this machine")
	}
	r.Release = strings.TrimSpace(release)
	if r.Source, err = readSource(ctx, root); err != nil {
		return nil, err
	}
	return r, r.findModules(filepath.Join(root, "usr/lib/uml/modules", r.Release))
}

const (
	kernelFile = "usr/bin/linux.uml"
	configFile = "usr/share/doc/user-mode-linux/config.gz"
	sourceFile = "built-using" // ours, beside the unpacked package
)

// findKernel returns the folder that has the package's files.
func (r *Rig) findKernel(ctx context.Context) (string, error) {
	if cached, _ := filepath.Glob(filepath.Join(r.dir, "kernel-*")); len(cached) > 0 {
		return cached[len(cached)-1], nil
	}
	if exists("/"+kernelFile) && exists("/"+configFile) {
		return "/", nil
	}
	if names := missing("apt-get", "dpkg-deb"); names != nil {
		return "", unavailable(nil, "User-Mode Linux is not installed, and without %s Debian's package of it cannot be fetched", strings.Join(names, " and "))
	}
	const name = "user-mode-linux"
	had, err := versions(ctx, name)
	if err != nil {
		return "", unavailable(err, "User-Mode Linux is not installed, and its package is unknown here")
	}
	return publish(ctx, r.dir, "kernel-"+had[0], func(tmp string) error {
		r.say("fetching Debian's package %s=%s, 41 MB", name, had[0])
		deb, err := download(ctx, tmp, name+"="+had[0])
		if err != nil {
			return unavailable(err, "the package user-mode-linux cannot be had")
		}
		source, err := field(ctx, deb, "Built-Using")
		if err != nil {
			return err
		}
		if err := unpack(ctx, deb, tmp); err != nil {
			return err
		}
		if err := os.Remove(deb); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(tmp, sourceFile), []byte(source), 0o644)
	})
}

// readSource returns the version of the kernel's source package: "linux (= 6.1.176-1)".
func readSource(ctx context.Context, root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, sourceFile))
	if err != nil {
		installed, queryErr := output(ctx, "", "dpkg-query", "-W", "-f", "${Built-Using}", "user-mode-linux")
		if queryErr != nil {
			return "", queryErr
		}
		text = []byte(installed)
	}
	for part := range strings.SplitSeq(string(text), ",") {
		if version, ok := strings.CutPrefix(strings.TrimSpace(part), "linux (= "); ok {
			return strings.TrimSuffix(version, ")"), nil
		}
	}
	return "", fmt.Errorf("the package of %s does not say which kernel source it was built from (Built-Using: %s)", root, text)
}

// findModules notes the stock modules, and what a module of this kernel says of its version.
func (r *Rig) findModules(dir string) error {
	r.modules = map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			r.modules[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return err
	}
	const any = "virtio_net" // a virtio driver that every User-Mode Linux has as a module
	info, err := readModinfo(r.modules[any])
	if err != nil {
		return fmt.Errorf("the kernel's module %s: %w", any, err)
	}
	r.vermagic = info.vermagic
	if release, _, _ := strings.Cut(r.vermagic, " "); release != r.Release {
		return fmt.Errorf("the kernel is %s, its modules are of %s", r.Release, release)
	}
	return nil
}

// moduleName is the one name of a module whose file may have dashes.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
