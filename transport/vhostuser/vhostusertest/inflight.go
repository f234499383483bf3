package vhostusertest

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Inflight is the memory in which a back-end records what is in flight. The front-end does
// nothing but keep it and hand it to the back-end's successor.
type Inflight struct {
	Size      uint64 // bytes
	Offset    uint64 // of the first one in the file
	Queues    uint16
	QueueSize uint16
	File      *os.File
}

// Close closes the file.
func (i *Inflight) Close() error {
	if i == nil || i.File == nil {
		return nil
	}
	return i.File.Close()
}

// inflightBytes is how long the description is without the padding that C puts behind it.
const inflightBytes = 20

// describe pads the description as compilers do, and with them all front-ends in the field.
func (i Inflight) describe() []byte {
	p := u64s(i.Size, i.Offset)
	p = order.AppendUint16(p, i.Queues)
	p = order.AppendUint16(p, i.QueueSize)
	return append(p, 0, 0, 0, 0)
}

// GetInflightFD asks for a fresh record for so many queues of that size (INFLIGHT_SHMFD).
func (f *FrontEnd) GetInflightFD(queues, size uint16) (*Inflight, error) {
	reply, err := f.Ask(question(GetInflightFD, Inflight{Queues: queues, QueueSize: size}.describe()))
	if err != nil {
		return nil, err
	}
	p := reply.Payload
	if len(p) != inflightBytes && len(p) != inflightBytes+4 || len(reply.Files) != 1 {
		closeAll(reply.Files)
		return nil, fmt.Errorf("the record of what is in flight came with %d bytes and %d descriptors", len(p), len(reply.Files))
	}
	return &Inflight{
		Size: order.Uint64(p), Offset: order.Uint64(p[8:]),
		Queues: order.Uint16(p[16:]), QueueSize: order.Uint16(p[18:]),
		File: reply.Files[0],
	}, nil
}

// SetInflightFD hands a record over (INFLIGHT_SHMFD).
func (f *FrontEnd) SetInflightFD(i *Inflight) error {
	return f.Tell(SetInflightFD, i.describe(), i.File)
}

// NewInflight makes a record without a back-end, zeroed: what a front-end would have kept.
func NewInflight(queues, size uint16) (*Inflight, error) {
	fd, err := unix.MemfdCreate("inflight", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	i := &Inflight{Queues: queues, QueueSize: size, File: os.NewFile(uintptr(fd), "inflight")}
	i.Size = uint64(queues) * i.stride()
	return i, i.File.Truncate(int64(i.Size))
}

// A record has one piece for each queue: a header and an entry for each descriptor.
const (
	recordHeader = 16
	recordEntry  = 16
	recordAlign  = 64 // of the pieces, as the reference back-end has it
)

// stride is the distance between the pieces of two queues. The specification does not say what
// it is; whoever made the record made the pieces equal.
func (i *Inflight) stride() uint64 {
	if i.Size == 0 {
		return (recordHeader + recordEntry*uint64(i.QueueSize) + recordAlign - 1) &^ (recordAlign - 1)
	}
	return i.Size / uint64(i.Queues)
}

// Record is what one queue's piece of an Inflight says, for a split ring.
type Record struct {
	Version   uint16 // 0: never used
	Size      uint16 // entries
	LastBatch uint16 // head of the chain given back last
	Used      uint16 // the used index when all entries were right
	Entries   []Entry
}

// Entry is what a Record says of one head.
type Entry struct {
	Flying  bool
	Next    uint16 // given back before, in the batches that end with LastBatch
	Counter uint64 // the order in which the heads were taken
}

// Read is what the record of a queue says now.
func (i *Inflight) Read(queue int) (Record, error) {
	p := make([]byte, recordHeader+recordEntry*int(i.QueueSize))
	if _, err := i.File.ReadAt(p, i.at(queue)); err != nil {
		return Record{}, err
	}
	r := Record{Version: order.Uint16(p[8:]), Size: order.Uint16(p[10:]), LastBatch: order.Uint16(p[12:]), Used: order.Uint16(p[14:])}
	for p = p[recordHeader:]; len(p) > 0; p = p[recordEntry:] {
		r.Entries = append(r.Entries, Entry{Flying: p[0] != 0, Next: order.Uint16(p[6:]), Counter: order.Uint64(p[8:])})
	}
	return r, nil
}

// Write puts a record in the place of a queue's: what a back-end would have left that died then.
func (i *Inflight) Write(queue int, r Record) error {
	p := u64s(0)
	for _, v := range []uint16{r.Version, r.Size, r.LastBatch, r.Used} {
		p = order.AppendUint16(p, v)
	}
	for _, e := range r.Entries {
		var b [recordEntry]byte
		if e.Flying {
			b[0] = 1
		}
		order.PutUint16(b[6:], e.Next)
		order.PutUint64(b[8:], e.Counter)
		p = append(p, b[:]...)
	}
	_, err := i.File.WriteAt(p, i.at(queue))
	return err
}

func (i *Inflight) at(queue int) int64 { return int64(i.Offset + uint64(queue)*i.stride()) }
