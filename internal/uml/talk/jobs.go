package talk

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
)

// Random is a stream of bytes that both sides can make: what arrives at the other is known there.
func Random(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// Sum reads n bytes and returns their SHA-256 in hexadecimal.
func Sum(r io.Reader, n int) (string, error) {
	h := sha256.New()
	if _, err := io.CopyN(h, r, int64(n)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Copy writes the first n bytes of Random(seed).
func Copy(w io.Writer, seed byte, n int) error {
	_, err := io.CopyN(w, Random(seed), int64(n))
	return err
}

// RNGArgs are the arguments of the job rng.
type RNGArgs struct {
	Bytes int // to be read through /dev/hwrng; at least 4096
}

// RNGResult is what the job rng says, as "rng".
type RNGResult struct {
	Source    string // rng_current
	First     []byte // the first 4096
	Histogram [256]int
	Seconds   float64
}

// ConsoleArgs are the arguments of the job console.
type ConsoleArgs struct {
	Bytes int // each way
}

// PortsArgs are the arguments of the job ports.
type PortsArgs struct {
	Names []string
	Bytes int // each way, on each port
}

// Bulk is what the jobs console and ports say when all bytes went both ways.
type Bulk struct {
	Sum     string // of what the guest received
	Seconds float64
}

// Size is that of a window, in characters.
type Size struct{ Cols, Rows uint16 }

// RebindArgs are the arguments of the job rebind.
type RebindArgs struct {
	ID    int // of the device
	Times int
}

// ShellArgs are the arguments of the job shell.
type ShellArgs struct {
	Term  string // the kind of the person's terminal
	Root  string // tag of the 9P tree that is the shell's root directory; or empty
	Share string // tag of the 9P tree at /mnt/host; or empty
	Port  uint32 // of the vsock device, where whoever connects gets a shell, too; or 0
}
