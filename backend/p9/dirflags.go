package p9

import (
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// Flags of Tlopen and Tlcreate. They look like this machine's own on some machines and must
// never be used as such: O_DIRECTORY of arm64 is what the wire calls O_DIRECT.
const (
	wireExcl      = 0o200
	wireTrunc     = 0o1000
	wireAppend    = 0o2000
	wireDsync     = 0o10000
	wireDirectory = 0o200000
	wireNoatime   = 0o1000000
	wireSync      = 0o4000000
)

var wireFlags = [...]struct{ wire, host int }{
	{wireTrunc, unix.O_TRUNC},
	{wireAppend, unix.O_APPEND},
	{wireDsync, unix.O_DSYNC},
	{wireDirectory, unix.O_DIRECTORY},
	{wireNoatime, unix.O_NOATIME},
	{wireSync, unix.O_SYNC},
}

// openFlags translates flags of the wire. What is missing has no meaning here: O_CREAT and O_EXCL
// are the message's own, O_NOFOLLOW comes too late, O_NONBLOCK, O_NOCTTY, O_ASYNC and O_CLOEXEC
// are between the driver's processes and their kernel, and so is O_DIRECT: it would ask of the
// driver's buffers what only the host knows. Nothing that is opened blocks.
func openFlags(wire p9.OpenFlags) (int, error) {
	mode := int(wire.Mode())
	if mode == unix.O_ACCMODE {
		return 0, unix.EINVAL
	}
	flags := mode | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	for _, f := range wireFlags {
		if int(wire)&f.wire != 0 {
			flags |= f.host
		}
	}
	return flags, nil
}

// changes tells whether opening with the flags, or what is done next, changes the file.
func changes(flags int) bool {
	return flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0
}
