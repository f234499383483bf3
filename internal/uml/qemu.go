package uml

import (
	"cmp"
	"context"
	"path/filepath"
	"runtime"
	"strings"
)

const qemuProgram = "qemu-system-x86_64"

// PrepareQEMU is [Prepare] for Debian's kernel of cloud machines (27 MB) in an emulated PC with
// two processors, without KVM: front-ends and drivers that User-Mode Linux does not have. QEMU
// has to be installed. Modules cannot be built for this kernel.
func PrepareQEMU(ctx context.Context, say func(format string, args ...any)) (*Rig, error) {
	if runtime.GOARCH != "amd64" {
		return nil, unavailable(nil, "the kernel that is run in QEMU is one for x86, this is %s", runtime.GOARCH)
	}
	if missing(qemuProgram) != nil {
		return nil, unavailable(nil, "%s is not installed (Debian: qemu-system-x86)", qemuProgram)
	}
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	r := &Rig{dir: dir, say: say, machine: qemuCommand}
	root, err := r.findPCKernel(ctx)
	if err != nil {
		return nil, err
	}
	kernels, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return nil, unavailable(err, "the kernel's package has %d kernels", len(kernels))
	}
	r.kernel = kernels[0]
	r.Release = strings.TrimPrefix(filepath.Base(r.kernel), "vmlinuz-")
	return r, r.findModules(filepath.Join(root, "lib/modules", r.Release))
}

// findPCKernel returns the folder that has the kernel's package.
func (r *Rig) findPCKernel(ctx context.Context) (string, error) {
	if cached, _ := filepath.Glob(filepath.Join(r.dir, "package-linux-image-*")); len(cached) > 0 {
		return cached[len(cached)-1], nil
	}
	// What is always there is an empty package that depends on today's kernel.
	const always = "linux-image-cloud-amd64"
	if _, err := versions(ctx, always); err != nil {
		return "", unavailable(err, "the package %s is unknown here", always)
	}
	text, err := output(ctx, "", "apt-cache", "depends", always)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok {
			return r.Package(ctx, name, "27 MB")
		}
	}
	return "", unavailable(nil, "the package %s names no kernel", always)
}

// VhostUserPCI attaches a vhost-user back-end through QEMU's device vhost-user-KIND-pci. QEMU
// connects when it starts.
func VhostUserPCI(socket, kind string) Attachment {
	id := "vhost-user-" + kind
	return Attachment{QEMUArgs: []string{
		"-chardev", "socket,id=" + id + ",path=" + socket,
		"-device", id + "-pci,chardev=" + id,
	}}
}

// qemuCommand starts an emulated PC whose memory can be shared with back-ends.
func qemuCommand(r *Rig, _, initramfs string, c Config) (program string, args []string) {
	args = []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,accel=tcg,memory-backend=ram", "-smp", "2",
		"-object", "memory-backend-memfd,share=on,id=ram,size=" + cmp.Or(c.Memory, "256M"), "-m", cmp.Or(c.Memory, "256M"),
		// The first serial line is ours to talk over, the second is the console, which is our log.
		"-chardev", "socket,id=line,fd=3", "-serial", "chardev:line", "-serial", "stdio",
		"-kernel", r.kernel, "-initrd", initramfs,
		"-append", strings.Join(append([]string{"console=ttyS1", "panic=-1"}, c.kernelArgs()...), " "),
	}
	for _, a := range c.Attachments {
		args = append(args, a.QEMUArgs...)
	}
	return qemuProgram, args
}
