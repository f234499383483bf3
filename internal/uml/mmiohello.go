package uml

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Handover is what a kernel hands over when it connects: its memory, where in it the slot pages
// are, and the doorbell. It can be passed on to another process, and after that one's death to
// the next: the kernel notices nothing.
type Handover struct {
	RAM   *os.File // file offsets are the kernel's physical addresses
	Bell  *os.File // connected stream socket, a byte is a ring
	Pages []uint64 // physical address of each slot page
}

// Close closes the files.
func (h *Handover) Close() error { return errors.Join(h.RAM.Close(), h.Bell.Close()) }

// The greeting, struct hvl2_hello of driver/linux/hvl2_uml.h.
const (
	helloMagic   = 0x326c7668
	helloVersion = 1
	helloPages   = 8
	helloSize    = 16 + 8*helloPages
)

// ListenMMIO listens on a unix socket for kernels that were attached by [Rig.MMIO]; a file that
// is there already is replaced.
func ListenMMIO(socket string) (*net.UnixListener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
}

// AcceptMMIO waits for a kernel to connect.
func AcceptMMIO(l *net.UnixListener) (*Handover, error) {
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	h, err := readHello(conn)
	if err != nil {
		return nil, fmt.Errorf("the kernel's greeting: %w", err)
	}
	if h.Bell, err = conn.File(); err != nil {
		h.RAM.Close()
		return nil, err
	}
	return h, nil
}

func readHello(conn *net.UnixConn) (*Handover, error) {
	var hello [helloSize]byte
	control := make([]byte, unix.CmsgSpace(4))
	n, nc, _, _, err := conn.ReadMsgUnix(hello[:], control)
	if err != nil {
		return nil, err
	}
	ram, err := passedFile(control[:nc])
	if err != nil {
		return nil, err
	}
	h := &Handover{RAM: ram}
	if _, err := io.ReadFull(conn, hello[n:]); err != nil {
		ram.Close()
		return nil, err
	}
	if h.Pages, err = parseHello(hello); err != nil {
		ram.Close()
		return nil, err
	}
	return h, nil
}

func parseHello(hello [helloSize]byte) ([]uint64, error) {
	word := func(off int) uint32 { return binary.LittleEndian.Uint32(hello[off:]) }
	if word(0) != helloMagic || word(4) != helloVersion {
		return nil, fmt.Errorf("magic %#x, version %d", word(0), word(4))
	}
	count := word(8)
	if count == 0 || count > helloPages {
		return nil, fmt.Errorf("%d slot pages", count)
	}
	pages := make([]uint64, count)
	for i := range pages {
		pages[i] = binary.LittleEndian.Uint64(hello[16+8*i:])
	}
	return pages, nil
}

// passedFile is the one file that came with a message.
func passedFile(control []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, errors.New("no file came with it")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fds[0]) // there is room for one
	return os.NewFile(uintptr(fds[0]), "memory of the kernel"), nil
}
