package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"
)

var layouts = []struct {
	name string
	args []string
}{
	{"table", []string{
		"-shmem", "file:/dev/shm/window,size=16M,addr=0x37000000", "-doorbell", "unix:/run/bell",
		"-device", "rng", "-device", "console,stdio",
	}},
	{"dtb", []string{
		"-shmem", "devmem:addr=0x37000000,size=1M", "-layout", "dtb",
		"-device", "rng,mem=8K", "-device", "console,unix=/run/console", "-device", "console,pty",
	}},
	{"high", []string{
		"-shmem", "memfd:size=64K,addr=0x8ffff0000", "-doorbell", "unix:/run/a<b", "-device", "rng",
	}},
	{"v2", []string{
		"-shmem", "file:/dev/shm/window,size=16M,addr=0x37000000", "-layout", "v2", "-doorbell", "unix:/run/bell",
		"-device", "rng,mem=64K", "-device", "console,stdio",
	}},
}

// described reports whether a layout has that format.
func described(layout, format string) bool {
	return layout != "v2" || !slices.Contains(treeFormats, format)
}

func layout(t *testing.T, format string, args []string) string {
	t.Helper()
	var out, err bytes.Buffer
	status := run(append([]string{"layout", "-format", format}, args...), &out, &err)
	assert.Equal(t, status, 0, err.String())
	return out.String()
}

// go test -run TestLayout -update writes the files anew.
func TestLayout(t *testing.T) {
	for _, l := range layouts {
		for format := range formats {
			if !described(l.name, format) {
				continue
			}
			t.Run(l.name+"/"+format, func(t *testing.T) {
				golden.Assert(t, layout(t, format, l.args), fmt.Sprintf("layout-%s.%s", l.name, format))
			})
		}
	}
}

// A firmware includes the header and uses every number in it.
func TestHeaderCompiles(t *testing.T) {
	cc, err := exec.LookPath("gcc")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("no C compiler, so the header for firmware cannot be tried")
	}
	assert.NilError(t, err)
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			header := layout(t, "c", l.args)
			dir := t.TempDir()
			assert.NilError(t, os.WriteFile(filepath.Join(dir, "window.h"), []byte(header), 0o600))
			program := "#include \"window.h\"\n#include \"window.h\"\n#include <stdint.h>\nstatic const uint64_t all[] = {\n"
			n := 0
			for line := range strings.Lines(header) {
				if f := strings.Fields(line); len(f) > 2 && f[0] == "#define" {
					program += f[1] + ",\n"
					n++
				}
			}
			assert.Check(t, n > 30, "%d numbers", n)
			program += "};\n#if VIRTIO_HVL_WINDOW_SIZE < 4096\n#error\n#endif\n" +
				fmt.Sprintf("int main(void) { return sizeof all / sizeof all[0] == %d ? 0 : 1; }\n", n)
			source := filepath.Join(dir, "use.c")
			assert.NilError(t, os.WriteFile(source, []byte(program), 0o600))
			out, err := exec.Command(cc, "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(dir, "use"), source).CombinedOutput()
			assert.NilError(t, err, "%s", out)
			assert.NilError(t, exec.Command(filepath.Join(dir, "use")).Run())
		})
	}
}

// dtc has no objection to any of the trees. The overlay is tried under a root as boards have it.
func TestTreesCompile(t *testing.T) {
	dtc, err := exec.LookPath("dtc")
	if err != nil {
		t.Skip("no dtc (package device-tree-compiler), so the trees are only compared with golden files")
	}
	for _, l := range layouts {
		if !described(l.name, "dts") {
			continue
		}
		cells := "1"
		if l.name == "high" {
			cells = "2"
		}
		root := fmt.Sprintf("/dts-v1/; / { #address-cells = <%s>; #size-cells = <%s>; };\n", cells, cells)
		for from, text := range map[string]string{
			"dts": layout(t, "dts", l.args),
			"dtb": layout(t, "dtb", l.args),
			// The root of a board has its own cells.
			"zephyr": root + layout(t, "zephyr", l.args),
		} {
			format := strings.Replace(from, "zephyr", "dts", 1)
			cmd := exec.Command(dtc, "-I", format, "-O", "dtb", "-o", os.DevNull, "-")
			cmd.Stdin = strings.NewReader(text)
			out, err := cmd.CombinedOutput()
			assert.NilError(t, err, "%s", out)
			assert.Equal(t, string(out), "", "%s/%s\n%s", l.name, from, text)
		}
	}
}
