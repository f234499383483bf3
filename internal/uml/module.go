package uml

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Module is a kernel module and its parameters.
type Module struct {
	// Name is that of a stock module (virtio_console), of one that the kernel's package leaves
	// out and that is then built (virtio_rng, 9pnet_virtio), or a file's path. What it depends
	// on is loaded before it.
	Name   string
	Params string // as insmod takes them: sock=/run/a.sock debug=1
}

// spare are the modules that the kernel's package leaves out and that can be made of its source.
var spare = map[string]struct {
	files []string // the first is the one that is compiled
	needs []string // modules; one that was built by itself does not know
}{
	"virtio_rng":   {files: []string{"drivers/char/hw_random/virtio-rng.c"}},
	"9pnet_virtio": {files: []string{"net/9p/trans_virtio.c", "net/9p/trans_common.h"}, needs: []string{"9pnet"}},
}

// BuildModule builds the module name out of the files in dir, for exactly this kernel, and
// returns its file NAME.ko in the cache. dir has a makefile as kbuild wants it (obj-m := …); it
// is copied first. What was built of the same files before is built no more. The source of the
// kernel is in [Rig.SourceTree], should dir be made of it.
func (r *Rig) BuildModule(ctx context.Context, name, dir string) (string, error) {
	sum, err := digest(dir)
	if err != nil {
		return "", err
	}
	tree, err := r.SourceTree(ctx)
	if err != nil {
		return "", err
	}
	built, err := publish(ctx, r.dir, fmt.Sprintf("module-%s-%s-%.16x", r.Release, name, sum), func(tmp string) error {
		r.say("building the module %s for Linux %s", name, r.Release)
		work := filepath.Join(tmp, "work")
		if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
			return err
		}
		if _, err := output(ctx, tree, "make", "ARCH=um", "M="+work, "modules"); err != nil {
			return err
		}
		file := filepath.Join(tmp, name+".ko")
		if err := os.Rename(filepath.Join(work, name+".ko"), file); err != nil {
			return err
		}
		info, err := readModinfo(file)
		if err != nil {
			return err
		}
		if info.vermagic != r.vermagic {
			return fmt.Errorf("the module was built for %q, the kernel is %q", info.vermagic, r.vermagic)
		}
		return os.RemoveAll(work)
	})
	if err != nil {
		return "", fmt.Errorf("module %s: %w", name, err)
	}
	return filepath.Join(built, name+".ko"), nil
}

// digest is over names and contents of the files in dir.
func digest(dir string) ([]byte, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		fmt.Fprintf(h, "%q %d\n", rel, len(data))
		h.Write(data)
		return err
	})
	return h.Sum(nil), err
}

// buildSpare builds a module of the kernel's own source.
func (r *Rig) buildSpare(ctx context.Context, name string) (string, error) {
	tree, err := r.SourceTree(ctx)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "module-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	files := spare[name].files
	for i, file := range files {
		data, err := os.ReadFile(filepath.Join(tree, file))
		if err != nil {
			return "", err
		}
		base := filepath.Base(file)
		if i == 0 {
			base = name + ".c"
		}
		if err := os.WriteFile(filepath.Join(dir, base), data, 0o644); err != nil {
			return "", err
		}
	}
	makefile := "obj-m := " + name + ".o\n"
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte(makefile), 0o644); err != nil {
		return "", err
	}
	return r.BuildModule(ctx, name, dir)
}

// resolve returns the files of the modules and of all they depend on, in the order in which
// they can be loaded, each once.
func (r *Rig) resolve(ctx context.Context, modules []Module) ([]loadable, error) {
	var (
		order []loadable
		seen  = map[string]bool{}
		visit func(m Module) error
	)
	visit = func(m Module) error {
		name := moduleName(strings.TrimSuffix(filepath.Base(m.Name), ".ko"))
		if seen[name] {
			return nil
		}
		seen[name] = true
		file, err := r.moduleFile(ctx, m.Name)
		if err != nil {
			return err
		}
		info, err := readModinfo(file)
		if err != nil {
			return err
		}
		for _, needed := range slices.Concat(info.depends, spare[name].needs) {
			if err := visit(Module{Name: moduleName(needed)}); err != nil {
				return fmt.Errorf("%s needs it: %w", name, err)
			}
		}
		order = append(order, loadable{name, m.Params, file})
		return nil
	}
	for _, m := range modules {
		if err := visit(m); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// A loadable is a module of which everything is known.
type loadable struct{ name, params, file string }

func (r *Rig) moduleFile(ctx context.Context, name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	name = moduleName(name)
	if file, ok := r.modules[name]; ok {
		return file, nil
	}
	if _, ok := spare[name]; ok {
		return r.buildSpare(ctx, name)
	}
	return "", fmt.Errorf("no module %s in Linux %s", name, r.Release)
}
