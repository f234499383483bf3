package p9

import (
	"testing"

	"github.com/hugelgupf/p9/p9"
	"gotest.tools/v3/assert"
)

// A process that opens a file twice is one owner of locks, whichever of the two it asks by, as
// long as one of them is open. Another process is another owner, and so is the same number of
// another client, or of another attachment.
func TestDirLockOwner(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		s.put("file", "")
		s.put("other", "")
		lock := func(f *dirFile, pid int, client string, kind p9.LockType, want p9.LockStatus) {
			t.Helper()
			got, err := f.Lock(pid, kind, 0, 0, 0, client)
			assert.NilError(t, err)
			assert.Equal(t, got, want)
		}
		const rd, wr, un = p9.ReadLock, p9.WriteLock, p9.Unlock
		const ok, busy = p9.LockStatusOK, p9.LockStatusBlocked
		a, b, c := s.open(p9.ReadWrite, "file"), s.open(p9.ReadWrite, "file"), s.open(p9.ReadOnly, "file")
		before := s.x.open.Load()

		lock(a, 1, "x", un, ok) // nothing to remove, and nothing is made for that
		assert.Equal(t, s.x.open.Load(), before)
		lock(a, 1, "x", wr, ok)
		lock(b, 1, "x", rd, ok)
		lock(b, 1, "x", wr, ok)
		lock(c, 1, "x", rd, ok)
		lock(b, 2, "x", rd, ok)
		lock(b, 2, "x", wr, busy)
		lock(b, 1, "y", wr, busy)
		lock(s.open(p9.ReadWrite, "other"), 1, "x", wr, ok)
		lock(a, 1, "x", un, ok) // it was b's, too
		lock(c, 1, "x", un, ok)
		lock(b, 2, "x", wr, ok)
		assert.Equal(t, s.x.open.Load(), before+2+4) // three owners of locks, and other's two

		lock(b, 2, "x", un, ok)
		lock(a, 1, "x", wr, ok)
		assert.NilError(t, a.Close())
		lock(b, 2, "x", rd, busy) // process 1 has it by b and c still
		assert.NilError(t, c.Close())
		again := s.open(p9.ReadWrite, "file")
		assert.NilError(t, b.Close())
		lock(again, 2, "x", wr, ok)
	})
	t.Run("attachments", func(t *testing.T) {
		s := export(t, scratch(t), DirOptions{})
		s.put("file", "")
		a := s.open(p9.ReadWrite, "file")
		root, err := s.x.Attach()
		assert.NilError(t, err)
		defer root.Close()
		_, f, err := root.Walk([]string{"file"})
		assert.NilError(t, err)
		defer f.Close()
		_, _, err = f.Open(p9.ReadWrite)
		assert.NilError(t, err)
		for i, want := range []p9.LockStatus{p9.LockStatusOK, p9.LockStatusBlocked} {
			got, err := []p9.File{a, f}[i].Lock(1, p9.WriteLock, 0, 0, 0, "x")
			assert.NilError(t, err)
			assert.Equal(t, got, want)
		}
	})
}
