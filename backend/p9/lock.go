package p9

import (
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// lock is Tlock fid[4] type[1] flags[4] start[8] length[8] proc_id[4] client_id[s]. A File that
// waits for the lock makes the client wait for the answer, and nothing else.
func (r *request) lock() error {
	num := r.in.u32()
	typ, flags := p9.LockType(r.in.u8()), p9.LockFlags(r.in.u32())
	start, length := r.in.u64(), r.in.u64()
	pid, client := int32(r.in.u32()), r.in.str()
	if err := r.in.done(); err != nil {
		return err
	}
	if typ > p9.Unlock {
		return linux.EINVAL
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	status, err := f.file.Lock(int(pid), typ, flags, start, length, string(client))
	if err != nil {
		return err
	}
	r.out.u8(uint8(status))
	return nil
}

// getlock is Tgetlock fid[4] type[1] start[8] length[8] proc_id[4] client_id[s].
func (r *request) getlock() error {
	num := r.in.u32()
	l := Lock{Type: p9.LockType(r.in.u8()), Start: r.in.u64(), Length: r.in.u64(), PID: r.in.u32()}
	l.Client = string(r.in.str())
	if err := r.in.done(); err != nil {
		return err
	}
	if l.Type > p9.Unlock {
		return linux.EINVAL
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	g, ok := f.file.(LockGetter)
	if !ok {
		return linux.ENOSYS
	}
	if l, err = g.GetLock(l); err != nil {
		return err
	}
	r.out.u8(uint8(l.Type))
	r.out.u64(l.Start)
	r.out.u64(l.Length)
	r.out.u32(l.PID)
	r.out.str(l.Client)
	return nil
}
