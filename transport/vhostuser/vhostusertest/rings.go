package vhostusertest

import (
	"fmt"
	"os"
)

// SetVringNum gives a ring its size.
func (f *FrontEnd) SetVringNum(queue int, size uint32) error {
	return f.Tell(SetVringNum, u32s(uint32(queue), size))
}

// SetVringBase says at which available index a ring begins.
func (f *FrontEnd) SetVringBase(queue int, base uint16) error {
	return f.Tell(SetVringBase, u32s(uint32(queue), uint32(base)))
}

// GetVringBase stops a ring and asks where it got to.
func (f *FrontEnd) GetVringBase(queue int) (uint16, error) {
	reply, err := f.Ask(question(GetVringBase, u32s(uint32(queue), 0)))
	if err != nil {
		return 0, err
	}
	closeAll(reply.Files)
	p := reply.Payload
	if len(p) != 8 || order.Uint32(p) != uint32(queue) || order.Uint32(p[4:]) > 0xffff {
		return 0, fmt.Errorf("base of ring %d: answer %x", queue, p)
	}
	return uint16(order.Uint32(p[4:])), nil
}

// NoLog is the address of a log that is not kept, as some front-ends write it.
const NoLog = ^uint64(0)

// SetVringAddr places a ring, by user addresses.
func (f *FrontEnd) SetVringAddr(queue int, desc, used, avail uint64) error {
	return f.Tell(SetVringAddr, append(u32s(uint32(queue), 0), u64s(desc, used, avail, NoLog)...))
}

// SetVringEnable enables or disables a ring.
func (f *FrontEnd) SetVringEnable(queue int, on bool) error {
	state := uint32(0)
	if on {
		state = 1
	}
	return f.Tell(SetVringEnable, u32s(uint32(queue), state))
}

// SetVringKick gives a ring the descriptor that starts and kicks it; nil says that there is none.
func (f *FrontEnd) SetVringKick(queue int, fd *os.File) error {
	return f.setVringFD(SetVringKick, queue, fd)
}

// SetVringCall gives a ring the descriptor to call with; nil says that there is none.
func (f *FrontEnd) SetVringCall(queue int, fd *os.File) error {
	return f.setVringFD(SetVringCall, queue, fd)
}

// SetVringErr gives a ring the descriptor to report errors with; nil says that there is none.
func (f *FrontEnd) SetVringErr(queue int, fd *os.File) error {
	return f.setVringFD(SetVringErr, queue, fd)
}

func (f *FrontEnd) setVringFD(r Request, queue int, fd *os.File) error {
	if fd == nil {
		return f.Tell(r, u64s(uint64(queue)|NoFD))
	}
	return f.Tell(r, u64s(uint64(queue)), fd)
}

// KickInBand kicks a ring by a message (INBAND_NOTIFICATIONS).
func (f *FrontEnd) KickInBand(queue int) error {
	return f.Tell(VringKick, u32s(uint32(queue), 0))
}
