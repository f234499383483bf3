package main

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is output as it comes, for somebody who waits for a certain line of it.
type lines struct {
	mu    sync.Mutex
	text  strings.Builder
	ended bool
	more  chan struct{} // closed when there is more, or the end
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	close(l.more)
	l.more = make(chan struct{})
	return len(b), nil
}

func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	close(l.more)
	l.more = make(chan struct{})
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await returns the nth line, from 1, that contains the text.
func (l *lines) await(tb testing.TB, text string, nth int) string {
	tb.Helper()
	expired := time.After(watchdog)
	for {
		l.mu.Lock()
		all, ended, more := l.text.String(), l.ended, l.more
		l.mu.Unlock()
		found := 0
		for line := range strings.Lines(all) {
			if strings.HasSuffix(line, "\n") && strings.Contains(line, text) {
				if found++; found == nth {
					return line
				}
			}
		}
		if ended {
			tb.Fatalf("no line %d with %q:\n%s", nth, text, all)
		}
		select {
		case <-more:
		case <-expired:
			tb.Fatalf("no line %d with %q in %v:\n%s", nth, text, watchdog, all)
		}
	}
}
