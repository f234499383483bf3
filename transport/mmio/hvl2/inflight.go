package hvl2

import (
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// journal is the in-flight words of one queue, one a head: what a device that completes out of
// order has taken and not returned. Its only reader is the successor of a process that died, so
// program order is all the order it needs.
type journal struct {
	words    shmem.Span
	returned []uint16 // heads that the used index does not show yet
	hook     func()   // tests stop the device here, inside of its queue; nil otherwise
}

var _ vring.Journal = (*journal)(nil)

// What an in-flight word holds in its upper half; the lower one is a ring position.
const (
	wordTaken    = 1 // available position; stored before the request has any effect
	wordReturned = 2 // used position; stored before the used index shows it
	tagShift     = 16
)

// openJournals finds room for the words of all queues. ok is false where none was given.
func (s *Slot) openJournals() (ok bool, err error) {
	need := uint64(0)
	for i := range s.queues {
		need += 4 * uint64(s.dev.MaxSize(i))
	}
	if s.place.InflightSize < need {
		return false, nil
	}
	all, err := s.opts.Region.Span(s.place.InflightOff, s.place.InflightSize)
	if err != nil {
		return false, err
	}
	s.inflight = make([]journal, len(s.queues))
	next := uint64(0)
	for i := range s.inflight {
		n := uint64(s.dev.MaxSize(i))
		s.inflight[i] = journal{words: all.Slice(next, 4*n), returned: make([]uint16, 0, n)}
		next += 4 * n
	}
	return true, nil
}

// clearInflight is for a queue that begins.
func (s *Slot) clearInflight(i int) {
	if s.inflight != nil {
		j := &s.inflight[i]
		j.returned = j.returned[:0]
		j.words.Zero(0, j.words.Len())
	}
}

func (j *journal) put(head uint16, tag uint32, pos uint16) {
	if j.hook != nil {
		j.hook()
	}
	j.words.Store32Plain(4*uint64(head), tag<<tagShift|uint32(pos))
}

// Take implements vring.Journal.
func (j *journal) Take(head, pos uint16) { j.put(head, wordTaken, pos) }

// Return implements vring.Journal.
func (j *journal) Return(head, pos uint16) {
	j.put(head, wordReturned, pos)
	j.returned = append(j.returned, head)
}

// Publish implements vring.Journal.
func (j *journal) Publish(uint16) {
	for _, head := range j.returned {
		j.put(head, 0, 0)
	}
	j.returned = j.returned[:0]
}

// unfinished lists the heads that a predecessor took and did not publish, given the used index
// and the size of the queue.
func (j *journal) unfinished(used, size uint16) (heads []uint16) {
	j.returned = j.returned[:0]
	for head := range size {
		word := j.words.Load32(4 * uint64(head))
		switch word >> tagShift {
		case wordTaken:
			heads = append(heads, head)
		case wordReturned:
			if used-uint16(word)-1 >= size {
				heads = append(heads, head)
				continue
			}
			fallthrough // the used index shows it
		default:
			j.put(head, 0, 0)
		}
	}
	return heads
}
