package driver

import (
	"fmt"
	"time"
)

// Dialect is which deployed front-end a Window behaves like: the same stores in the same order,
// the same doorbells, the same status values.
type Dialect uint8

const (
	// VirtioExp is OpenAMP's virtio-exp branch, and Zephyr on top of it: status 1, 2, 4; QueuePFN
	// is written again after the acknowledgement; an acknowledgement is waited for at most 4 s.
	VirtioExp Dialect = iota
	// Zephyr2021 is Zephyr's own driver of 2021: a doorbell after QueueNum too, QueuePFN left as
	// acknowledged, the wait for it without end, and a kick whether it is wanted or not.
	Zephyr2021
	// V2025 is OpenAMP's virtio-exp-v2025.04 branch: as VirtioExp, but each status bit is added to
	// what stands in the register, a former boot's bits included.
	V2025
)

var dialectNames = [...]string{"virtio-exp", "zephyr2021", "v2025"}

func (d Dialect) String() string {
	if int(d) < len(dialectNames) {
		return dialectNames[d]
	}
	return fmt.Sprintf("Dialect(%d)", uint8(d))
}

// ParseDialect is the dialect of that name: virtio-exp, zephyr2021 or v2025.
func ParseDialect(name string) (Dialect, error) {
	for d, n := range dialectNames {
		if n == name {
			return Dialect(d), nil
		}
	}
	return 0, fmt.Errorf("dialect %q: want one of %q", name, dialectNames)
}

// ackWait is how long an acknowledgement of a queue is waited for; 0 is without end.
func (d Dialect) ackWait() time.Duration {
	if d == Zephyr2021 {
		return 0
	}
	return 4 * time.Second
}
