package talk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// Socket is one end of a connection. Its writing direction can be closed by itself.
type Socket interface {
	io.ReadWriter
	CloseWrite() error
}

// Ports at which both sides of the job vsock listen, and what they do with a connection there.
const (
	PortEcho     = 10 + iota // send back what comes, until no more does
	PortAnswer               // Answer
	PortAsk                  // Ask
	PortLazy                 // Answer, but not before somebody says so
	PortHold                 // nothing, until the other end does something
	PortMessages             // echo, on a connection of messages
	PortNobody               // nobody listens
	PortPour                 // Pour
	PortDrain                // Drain
	PortForward              // the host only: what a test leads there
	PortCallBack             // the host only: Ask the guest's PortAnswer, and write what came of it
)

// VsockDo is what the deeds of the job vsock take, each what it needs of it.
type VsockDo struct {
	Port  uint32
	Bytes int
	Times int
	Name  string   // of a console's port
	Args  []string // of a program
}

func sumOfAll(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Ask writes n bytes, closes its writing direction, and then wants to read their sum.
func Ask(s Socket, seed byte, n int) error {
	if err := Copy(s, seed, n); err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	return Answered(s, seed, n)
}

// Answered is the end of Ask.
func Answered(s Socket, seed byte, n int) error {
	if err := s.CloseWrite(); err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	got, err := io.ReadAll(s)
	if err != nil {
		return fmt.Errorf("waiting for an answer: %w", err)
	}
	want, err := Sum(Random(seed), n)
	if err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("the answer to %d bytes is %q, not %s", n, got, want)
	}
	return nil
}

// Answer reads to the end, and only then writes the sum of it, and that was all.
func Answer(s Socket) error {
	sum, err := sumOfAll(s)
	if err != nil {
		return fmt.Errorf("reading a question: %w", err)
	}
	if _, err := io.WriteString(s, sum); err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	return s.CloseWrite()
}

// Chat writes n bytes to somebody who sends them back, and reads them at the same time.
func Chat(s Socket, seed byte, n int) error {
	sent := make(chan error, 1)
	go func() {
		err := Copy(s, seed, n)
		if err == nil {
			err = s.CloseWrite()
		}
		sent <- err
	}()
	got, err := sumOfAll(s)
	if err := errors.Join(err, <-sent); err != nil {
		return fmt.Errorf("chatting: %w", err)
	}
	want, err := Sum(Random(seed), n)
	if err == nil && got != want {
		err = fmt.Errorf("other bytes than the %d that were sent came back", n)
	}
	return err
}

// Messages are sizes: of one packet of either side's, and of several.
var Messages = []int{1, 4096, 65536, 65537, 100_000, 3}

// ChatMessages writes messages to somebody who sends them back, each when the one before is back.
func ChatMessages(s Socket, seed byte) error {
	all, p := Random(seed), make([]byte, 128<<10)
	for _, n := range Messages {
		want := make([]byte, n)
		if _, err := io.ReadFull(all, want); err != nil {
			return err
		}
		if _, err := s.Write(want); err != nil {
			return fmt.Errorf("sending a message of %d bytes: %w", n, err)
		}
		got, err := s.Read(p)
		if err != nil {
			return fmt.Errorf("waiting for a message of %d bytes: %w", n, err)
		}
		if !bytes.Equal(p[:got], want) {
			return fmt.Errorf("a message of %d bytes came back as one of %d, or others", n, got)
		}
	}
	return s.CloseWrite()
}

// chunk is what Pour writes and Drain reads at once.
const chunk = 64 << 10

// Pour writes n bytes as fast as it can.
func Pour(w io.Writer, n int) error {
	b := make([]byte, chunk)
	for n > 0 {
		wrote, err := w.Write(b[:min(n, chunk)])
		if err != nil {
			return err
		}
		n -= wrote
	}
	return nil
}

// Drain reads n bytes and says how long they took after the first of them.
func Drain(r io.Reader, n int) (seconds float64, err error) {
	b := make([]byte, chunk)
	var begin time.Time
	for n > 0 {
		got, err := r.Read(b[:min(n, chunk)])
		if err != nil {
			return 0, err
		}
		if begin.IsZero() {
			begin = time.Now()
		}
		n -= got
	}
	return time.Since(begin).Seconds(), nil
}
