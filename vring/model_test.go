package vring_test

import (
	"encoding/binary"

	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// model is a device of a split queue written the slow way, from the specification: on plain
// bytes, with every step a step of its own. It shares no code with Queue but the names of the
// errors.
type model struct {
	mem modelMemory
	c   vring.Config
	n   uint16

	taken, seen       uint16 // available index: taken up to, last read
	published, judged uint16 // used index: stored, and up to where a notification was decided
	flags             uint16
	flagsKnown        bool // the flags in memory are what was stored
	storedFlags       uint16
	held              []vringtest.Elem
	owed              bool
	broken            error
}

// modelMemory is pieces of the driver's address space, in order.
type modelMemory []modelPiece

type modelPiece struct {
	addr  uint64
	bytes []byte
}

// at is the memory at [addr, addr+n) if that is inside one piece.
func (m modelMemory) at(addr, n uint64) []byte {
	for _, p := range m {
		if addr >= p.addr && addr-p.addr <= uint64(len(p.bytes)) && n <= uint64(len(p.bytes))-(addr-p.addr) {
			return p.bytes[addr-p.addr:][:n:n]
		}
	}
	return nil
}

// has tells whether every byte of [addr, addr+n) is somewhere.
func (m modelMemory) has(addr, n uint64) bool {
	for n > 0 {
		var p []byte
		for _, q := range m {
			if addr >= q.addr && addr-q.addr < uint64(len(q.bytes)) {
				p = q.bytes[addr-q.addr:]
			}
		}
		if p == nil {
			return false
		}
		step := min(n, uint64(len(p)))
		if n -= step; n > 0 && addr+step < addr {
			return false // around the end of the address space
		}
		addr += step
	}
	return true
}

func (m modelMemory) load16(addr uint64) uint16 { return binary.LittleEndian.Uint16(m.at(addr, 2)) }

func (m modelMemory) store16(addr uint64, v uint16) {
	binary.LittleEndian.PutUint16(m.at(addr, 2), v)
}

func (m modelMemory) store32(addr uint64, v uint32) {
	binary.LittleEndian.PutUint32(m.at(addr, 4), v)
}

// modelChain is a chain as the model took it.
type modelChain struct {
	flying  bool
	head    uint16
	in, out []uint64 // the address of each byte
	read    int
	wrote   int
}

// outcome is what a Pop is expected to say.
type outcome struct {
	ok      bool
	refused bool  // class B
	err     error // sentinel
}

func (m *model) pop(c *modelChain) outcome {
	if m.broken != nil {
		return outcome{err: m.broken}
	}
	if m.taken == m.seen { // read once for all that it shows
		idx := m.mem.load16(m.c.Avail + 2)
		switch ahead := idx - m.taken; {
		case ahead == 0:
			return outcome{}
		case ahead <= m.n:
			m.seen = idx
		case m.c.Patient:
			return outcome{}
		default:
			m.broken = vring.ErrAvailJump
			return outcome{err: m.broken}
		}
	}
	return m.take(c)
}

func (m *model) take(c *modelChain) outcome {
	head := m.mem.load16(m.c.Avail + 4 + 2*uint64(m.taken%m.n))
	if head >= m.n {
		m.broken = vring.ErrHead
		return outcome{err: m.broken}
	}
	m.taken++
	if c.flying {
		m.giveBack(c, 0)
	}
	*c = modelChain{head: head}
	buffers, stop, fatal := m.follow(head)
	if fatal != nil {
		m.broken = fatal
		return outcome{err: fatal}
	}
	if err := m.judge(buffers); err != nil {
		stop = err
	}
	if stop != nil {
		m.push(vringtest.Elem{ID: uint32(head)})
		return outcome{refused: true, err: stop}
	}
	for _, b := range buffers {
		for i := range uint64(b.Len) {
			if b.Flags&2 != 0 {
				c.out = append(c.out, b.Addr+i)
			} else {
				c.in = append(c.in, b.Addr+i)
			}
		}
	}
	c.flying = true
	return outcome{ok: true}
}

// follow lists the buffers of a chain up to its end, or up to where it stops being followed:
// stop costs the chain, fatal the ring.
func (m *model) follow(head uint16) (buffers []vringtest.Desc, stop, fatal error) {
	table, inTable := m.mem.at(m.c.Desc, 16*uint64(m.n)), false
	for i := head; ; {
		e := table[16*int(i):]
		d := vringtest.Desc{
			Addr:  binary.LittleEndian.Uint64(e),
			Len:   binary.LittleEndian.Uint32(e[8:]),
			Flags: binary.LittleEndian.Uint16(e[12:]),
			Next:  binary.LittleEndian.Uint16(e[14:]),
		}
		if d.Flags&4 != 0 {
			switch {
			case !m.c.Indirect:
				return buffers, vring.ErrIndirect, nil
			case inTable, d.Flags&1 != 0:
				return nil, nil, vring.ErrIndirect
			case d.Len == 0, d.Len&15 != 0, uint64(d.Len) > 16*uint64(m.n):
				return buffers, vring.ErrTable, nil
			}
			if table = m.mem.at(d.Addr, uint64(d.Len)); table == nil {
				return nil, nil, vring.ErrAddress
			}
			inTable, i = true, 0
			continue
		}
		if len(buffers) >= int(m.n) {
			return nil, nil, vring.ErrLoop
		}
		buffers = append(buffers, d)
		if d.Flags&1 == 0 {
			return buffers, nil, nil
		}
		if int(d.Next) >= len(table)/16 {
			return nil, nil, vring.ErrNext
		}
		i = d.Next
	}
}

// judge is the first thing wrong with the buffers of a chain.
func (m *model) judge(buffers []vringtest.Desc) error {
	total, writable := uint64(0), false
	for _, b := range buffers {
		if b.Flags&2 != 0 {
			writable = true
		} else if writable {
			return vring.ErrOrder
		}
		if total += uint64(b.Len); total >= 1<<32 {
			return vring.ErrTooBig
		}
		if !m.mem.has(b.Addr, uint64(b.Len)) {
			return vring.ErrAddress
		}
	}
	return nil
}

func (m *model) giveBack(c *modelChain, n int) {
	if c.flying {
		c.flying = false
		m.push(vringtest.Elem{ID: uint32(c.head), Len: uint32(n)})
	}
}

func (m *model) push(e vringtest.Elem) {
	if len(m.held) == int(m.n) {
		m.owed = m.publish() || m.owed
	}
	m.held = append(m.held, e)
}

func (m *model) show() {
	if m.broken != nil {
		return
	}
	for _, e := range m.held {
		at := m.c.Used + 4 + 8*uint64(m.published%m.n)
		m.mem.store32(at, e.ID)
		m.mem.store32(at+4, e.Len)
		m.published++
	}
	if len(m.held) > 0 {
		m.head()
	}
	m.held = nil
}

// head stores flags and index of the used ring.
func (m *model) head() {
	m.mem.store16(m.c.Used, m.flags)
	m.mem.store16(m.c.Used+2, m.published)
	m.flagsKnown, m.storedFlags = true, m.flags
}

func (m *model) publish() (notify bool) {
	if m.broken != nil {
		m.held, m.owed = nil, false
		return false
	}
	m.show()
	if m.judged != m.published {
		m.head() // once more if they were shown before: the flags may be others
		if m.c.EventIdx {
			event := m.mem.load16(m.c.Avail + 4 + 2*uint64(m.n))
			for i := m.judged; i != m.published; i++ {
				notify = notify || i == event
			}
		} else {
			notify = m.mem.load16(m.c.Avail)&1 == 0
		}
		m.judged = m.published
	}
	notify, m.owed = notify || m.owed, false
	return notify
}

func (m *model) arm() (pending bool) {
	if m.broken != nil {
		return false
	}
	m.flags = 0
	if !m.flagsKnown || m.storedFlags != 0 {
		m.head()
	}
	if m.c.EventIdx {
		m.mem.store16(m.c.Used+4+8*uint64(m.n), m.taken)
	}
	ahead := m.mem.load16(m.c.Avail+2) - m.taken
	return ahead != 0 && (ahead <= m.n || !m.c.Patient)
}

func (m *model) disarm() {
	if !m.c.EventIdx {
		m.flags = 1
	}
}

func (m *model) read(c *modelChain, p []byte) []byte {
	n := min(len(p), len(c.in)-c.read)
	for i := range n {
		p[i] = m.mem.at(c.in[c.read+i], 1)[0]
	}
	c.read += n
	return p[:n]
}

func (m *model) write(c *modelChain, p []byte) int {
	n := min(len(p), len(c.out)-c.wrote)
	for i := range n {
		m.mem.at(c.out[c.wrote+i], 1)[0] = p[i]
	}
	c.wrote += n
	return n
}
