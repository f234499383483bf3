package p9

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
)

// All of this works for a user without privileges, as far as the host lets that user. Root runs
// the tests of this folder once more as nobody.
func TestDirUnprivileged(t *testing.T) {
	if os.Geteuid() == 0 {
		if emulator.Here() {
			t.Skip("the emulated program cannot be started by somebody who may not read it")
		}
		const nobody = 65534
		cmd := exec.Command("/proc/self/exe", "-test.run=^(TestDir|TestP9_08_Dir)", "-test.skip=Huge|Vectors|Race", "-test.short", "-test.v")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cmd.Env = append(os.Environ(), "TMPDIR=/tmp")
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("as nobody: %v\n%s", err, out)
		}
		assert.Assert(t, strings.Contains(string(out), "--- PASS: TestDirUnprivileged"), "%s", out)
		return
	}
	me := uint32(os.Geteuid())
	for _, o := range []DirOptions{{}, {Squash: &Owner{}}, {UIDs: []IDRange{{0, 100000, 65536}}, GIDs: []IDRange{{0, 100000, 65536}}}} {
		s := export(t, scratch(t), o)
		makeAll(t, s, 0, 0, 0o4755) // owners that cannot be had stay away
		for _, name := range []string{"file", "dir", "link", "fifo"} {
			assert.Equal(t, s.stat(name).Uid, me, name)
			if name != "link" {
				assert.Equal(t, s.stat(name).Mode&modeBits, uint32(0o4755), name)
			}
		}
		err := s.get("file").SetAttr(p9.SetAttrMask{UID: true}, p9.SetAttr{UID: 0})
		if o.Squash == nil {
			refused(t, err, unix.EPERM)
		} else {
			assert.NilError(t, err)
		}
	}

	// What the user may not do, its driver may not.
	x, err := Dir("/", DirOptions{})
	assert.NilError(t, err)
	defer x.Close()
	root, err := x.Attach()
	assert.NilError(t, err)
	defer root.Close()
	_, _, _, err = root.Create("p9dir", p9.ReadWrite, 0o644, 0, 0)
	assert.Check(t, is(err, unix.EACCES, unix.EROFS))
	_, f, err := root.Walk([]string{"etc", "passwd"})
	assert.NilError(t, err)
	defer f.Close()
	assert.Check(t, is(f.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{}), unix.EACCES, unix.EROFS))
	assert.Check(t, is(f.SetAttr(p9.SetAttrMask{Permissions: true}, p9.SetAttr{}), unix.EPERM, unix.EROFS))
	_, _, err = f.Open(p9.ReadWrite)
	assert.Check(t, is(err, unix.EACCES, unix.EROFS))
	_, _, err = f.Open(wireNoatime) // which is for owners: the flag goes, the file opens
	assert.NilError(t, err)
	assert.Assert(t, contents(t, f) != "")
}
