package mmio

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// chatter bounds what a driver can make the log say: a burst of lines, then one a second. A
// driver that reboots in a loop must not fill the disk.
type chatter struct {
	mu     sync.Mutex
	paid   time.Time // up to here the lines said are paid for
	unsaid int
}

const (
	sayEvery = time.Second
	sayBurst = 16
)

// may reports whether a line may be said now, and how many were not since the last one.
func (c *chatter) may(now time.Time) (ok bool, unsaid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paid.Before(now) {
		c.paid = now
	}
	if c.paid.Sub(now) >= sayBurst*sayEvery {
		c.unsaid++
		return false, 0
	}
	c.paid = c.paid.Add(sayEvery)
	unsaid, c.unsaid = c.unsaid, 0
	return true, unsaid
}

// say logs what a driver brought about. Not for hot paths.
func (s *slot) say(level slog.Level, what string, args ...any) {
	ok, unsaid := s.talk.may(time.Now())
	if !ok {
		return
	}
	args = append(args, "device", s.name)
	if unsaid > 0 {
		args = append(args, "unsaid", unsaid)
	}
	s.bus.log.Log(context.Background(), level, what, args...)
}
