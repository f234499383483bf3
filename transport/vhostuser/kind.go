package vhostuser

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// fdKind is what a descriptor for signals is. Only these three are taken: of each it is known
// how to write to and read from it without ever blocking, whatever mode the front-end, which
// holds the same open file, puts it into.
type fdKind uint8

const (
	eventfd fdKind = iota
	pipe
	socket
)

// kindOf looks what a descriptor is.
func kindOf(fd int) (fdKind, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return pipe, nil
	case unix.S_IFSOCK:
		return socket, nil
	}
	link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return 0, err
	}
	if link != "anon_inode:[eventfd]" {
		return 0, fmt.Errorf("%s is neither an eventfd nor a pipe nor a socket", link)
	}
	return eventfd, nil
}
