package uml

import (
	"bytes"
	"sync"
)

// kernelLog keeps what the kernel prints. Its zero value is ready for use.
type kernelLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *kernelLog) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

func (c *kernelLog) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}
