package virtio

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// sayEvery is how often the log takes the same complaint about a driver.
const sayEvery = 10 * time.Second

// said remembers what was logged lately. A driver can do wrong as often as it likes: it must
// not fill the disk with it. The zero said has said nothing.
type said struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (s *said) lately(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if at, ok := s.at[what]; ok && now.Sub(at) < sayEvery {
		return true
	}
	if s.at == nil {
		s.at = make(map[string]time.Time)
	}
	s.at[what] = now
	return false
}

// say counts what went wrong with the driver or the backend, and logs it unless it did so
// lately. what is a constant: it is remembered.
func (d *Device) say(what string, args ...any) { d.sayAt(slog.LevelWarn, what, args...) }

func (d *Device) sayAt(level slog.Level, what string, args ...any) {
	d.faults.Add(1)
	if !d.said.lately(what) {
		d.log.Log(context.Background(), level, what, args...)
	}
}
