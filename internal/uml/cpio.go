package uml

import (
	"bytes"
	"fmt"
	"io/fs"
)

// cpio is an archive in the one format that the kernel takes as its first file system: "new
// ASCII", without checksums.
type cpio struct {
	bytes.Buffer
	inodes int
}

func (c *cpio) entry(name string, mode uint32, data []byte) {
	c.inodes++
	fmt.Fprintf(c, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.inodes, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	c.WriteString(name)
	c.WriteByte(0)
	c.pad()
	c.Write(data)
	c.pad()
}

func (c *cpio) pad() { c.Write(make([]byte, -c.Len()&3)) }

const (
	cpioDir  = 0o040000
	cpioFile = 0o100000
)

func (c *cpio) dir(name string) { c.entry(name, cpioDir|0o755, nil) }

func (c *cpio) file(name string, mode fs.FileMode, data []byte) {
	c.entry(name, cpioFile|uint32(mode.Perm()), data)
}

// end closes the archive.
func (c *cpio) end() { c.entry("TRAILER!!!", 0, nil) }
