package vhostuser

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// A record begins with features (64 bits, 0), and then 16 bits each of version, number of entries,
// head given back last, and used index. An entry, one for each head, is a byte that says whether
// it is in flight, five of padding, 16 bits that name the head given back before it, and a 64-bit
// count of when it was taken.
const (
	recordHead  = 16
	recordEntry = 16

	recordVersion = 8
	recordSize    = 10
	recordLast    = 12
	recordUsed    = 14

	entryCount = 8

	splitVersion = 1
	inFlight     = 1
)

// journal keeps a record. What is written to the record is never read back from it while the
// queue lives.
type journal struct {
	record shmem.Span
	shared bool // it is the front-end's
	count  uint64
	used   uint16   // used index that the record is right for
	last   uint16   // head given back last
	batch  []uint16 // heads given back since the used index was stored
	next   []uint16 // of each head: the one given back before it
}

var _ vring.Journal = (*journal)(nil)

func newJournal(record shmem.Span, size uint16, shared bool) *journal {
	return &journal{record: record, shared: shared, batch: make([]uint16, 0, size), next: make([]uint16, size)}
}

func entry(head uint16) uint64 { return recordHead + recordEntry*uint64(head) }

// mark writes the first word of a head's entry.
func (j *journal) mark(head uint16, flag uint64) {
	j.record.Store64Plain(entry(head), flag|uint64(j.next[head])<<48)
}

// Take implements vring.Journal.
func (j *journal) Take(head, _ uint16) {
	j.record.Store64Plain(entry(head)+entryCount, j.count)
	j.count++
	j.mark(head, inFlight)
}

// Return implements vring.Journal.
func (j *journal) Return(head, _ uint16) {
	j.next[head] = j.last
	j.mark(head, inFlight)
	j.last = head
	j.record.Store16Plain(recordLast, head)
	if len(j.batch) < cap(j.batch) {
		j.batch = append(j.batch, head)
	}
}

// Publish implements vring.Journal.
func (j *journal) Publish(used uint16) {
	for _, head := range j.batch {
		j.mark(head, 0)
	}
	j.batch = j.batch[:0]
	j.used = used
	j.record.Store16Plain(recordUsed, used)
}

// renew makes the record that of a ring with nothing in flight.
func (j *journal) renew(used uint16) {
	j.record.Zero(0, j.record.Len())
	*j = *newJournal(j.record, uint16(len(j.next)), j.shared)
	j.record.Store16Plain(recordSize, uint16(len(j.next)))
	j.record.Store16Plain(recordUsed, used)
	j.record.Store16Plain(recordVersion, splitVersion)
	j.used = used
}

// resume reads what a predecessor left, given the used index of the ring, and returns the heads
// that are in flight in the order they were taken. Whoever held the record may have written
// anything into it.
func (j *journal) resume(used uint16) (redo []uint16, err error) {
	size := uint16(len(j.next))
	version, entries := j.record.Load16(recordVersion), j.record.Load16(recordSize)
	if version == 0 {
		j.renew(used)
		return nil, nil
	}
	if version != splitVersion || entries != size {
		return nil, fmt.Errorf("a record of version %d for %d entries, want version %d for %d", version, entries, splitVersion, size)
	}
	words, counts := make([]uint64, size), make([]uint64, size)
	for head := range size {
		words[head] = j.record.Load64Plain(entry(head))
		counts[head] = j.record.Load64Plain(entry(head) + entryCount)
	}
	// The predecessor may have died between its store of the used index and its notes on it.
	last := j.record.Load16(recordLast)
	late := used - j.record.Load16(recordUsed)
	if late > size {
		return nil, fmt.Errorf("a record for used index %d, where the ring is at %d", used-late, used)
	}
	for head := last; late > 0; late-- {
		if head >= size {
			return nil, fmt.Errorf("a record that names head %d of %d", head, size)
		}
		words[head] &^= 0xff
		head = uint16(words[head] >> 48)
	}
	for head, word := range words {
		j.next[head] = uint16(word >> 48)
		if word&0xff != 0 {
			redo = append(redo, uint16(head))
			j.count = max(j.count, counts[head]+1)
		}
		j.mark(uint16(head), min(word&0xff, inFlight))
	}
	slices.SortStableFunc(redo, func(a, b uint16) int { return cmp.Compare(counts[a], counts[b]) })
	j.last, j.used, j.batch = last, used, j.batch[:0]
	j.record.Store16Plain(recordUsed, used)
	return redo, nil
}
