package vhostuser

import (
	"log/slog"
	"time"
)

// Options says how a device is served. The zero value is right for most.
type Options struct {
	// Inband offers in-band notifications: kicks and calls as messages on the sockets, each
	// answered before the next. They are far slower than descriptors, and front-ends that know
	// them, User-Mode Linux for one, use them as soon as they are offered. They are for
	// simulated time.
	Inband bool
	// Spin is how long a queue is watched for more before its device sleeps; 0 is at once.
	Spin time.Duration
	Log  *slog.Logger // nil: slog.Default
}
