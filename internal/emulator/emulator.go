// Package emulator tells tests of another machine, run under QEMU's user mode, that they are. It
// lets them start processes, which that mode does not do for them.
package emulator

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
)

// machines holds, for what Go calls a machine, what the kernel calls it and who emulates it.
var machines = map[string]struct{ kernel, emulator string }{
	"amd64": {"x86_64", "qemu-x86_64"},
	"arm64": {"aarch64", "qemu-aarch64"},
}

// Here reports whether this program runs on a machine that it was not built for.
var Here = sync.OnceValue(func() bool {
	arch, err := os.ReadFile("/proc/sys/kernel/arch")
	m, known := machines[runtime.GOARCH]
	return err == nil && known && strings.TrimSpace(string(arch)) != m.kernel
})

// Command is exec.Command for a program built for the machine that this one was built for.
func Command(path string, args ...string) *exec.Cmd {
	if Here() {
		return exec.Command(machines[runtime.GOARCH].emulator, append([]string{path}, args...)...)
	}
	return exec.Command(path, args...)
}
