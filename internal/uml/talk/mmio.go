package talk

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// CountedArgs are the arguments of the job counted, which runs another one and then says what
// the glue under Linux's virtio_mmio.c counted: as "counts", a []Counts.
type CountedArgs struct {
	Job  string
	Args json.RawMessage
}

// Counts is what the glue counted for a device.
type Counts map[string]uint32

// DrawArgs are the arguments of the job draw, which reads numbered entropy from the time it says
// "drawing" on, until it has so many bytes and is told "enough". Then it says "drawn", an int.
type DrawArgs struct{ Bytes int }

// FreshArgs are the arguments of the job fresh, which so many times hears "fresh", reads entropy
// however often it fails, and says "read", an int: how often it failed.
type FreshArgs struct{ Times int }

// NumberedEntropy is a source of entropy of which every eight bytes are told from all others,
// and have numbers that grow.
type NumberedEntropy struct{ Next uint32 }

// Read fills whole words; len(p) has to be a multiple of eight.
func (e *NumberedEntropy) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint32(p[i:], e.Next)
		binary.LittleEndian.PutUint32(p[i+4:], proof(e.Next))
		e.Next++
	}
	return len(p), nil
}

func proof(n uint32) uint32 { return n*2654435761 + 1 }

// Check reports what in p is no word, or one that was there before.
func (e *NumberedEntropy) Check(p []byte) error {
	for i := 0; i < len(p); i += 8 {
		n, is := binary.LittleEndian.Uint32(p[i:]), binary.LittleEndian.Uint32(p[i+4:])
		if is != proof(n) {
			return fmt.Errorf("%x is no word", p[i:i+8])
		}
		if n < e.Next {
			return fmt.Errorf("word %#x after word %#x", n, e.Next-1)
		}
		e.Next = n + 1
	}
	return nil
}

// LinesArgs are the arguments of the job lines, which says "reading", then "line" with the number
// of each line that it reads from the console, and at last "bad lines", an int: how many were none.
type LinesArgs struct{ Lines int }

// Line is a line that can be told from any other, and from a part of one.
func Line(n int) string { return fmt.Sprintf("%d %08x", n, proof(uint32(n))) }

// LineNumber is the number of a Line.
func LineNumber(text string) (n int, ok bool) {
	_, err := fmt.Sscan(text, &n)
	return n, err == nil && text == Line(n)
}

// BindArgs are the arguments of the job bind, which does what it is told with the words "unbind",
// "bind", "use", "up", "odd" and "address", and says the same word with what came of it, a string. It
// ends at "enough".
type BindArgs struct {
	ID int // of the device
}
