package notify

import (
	"errors"
	"testing"
	"time"
)

func newPoll(t testing.TB, min, max time.Duration) *poll {
	t.Helper()
	l, err := NewPoll(min, max, nil)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.(*poll)
}

func TestPollRefuses(t *testing.T) {
	for _, c := range []struct{ min, max time.Duration }{{0, 1}, {-1, 1}, {2, 1}} {
		if _, err := NewPoll(c.min, c.max, nil); err == nil {
			t.Errorf("NewPoll(%d, %d) succeeded", c.min, c.max)
		}
	}
}

func TestPollSleepsLongerAndLonger(t *testing.T) {
	p := newPoll(t, time.Microsecond, 5*time.Microsecond)
	for range 2 {
		must(t, within(t, "Wait", func() error {
			for p.sleep == p.min { // it may spin first
				if err := p.Wait(); err != nil {
					return err
				}
			}
			return nil
		}))
		for _, want := range []time.Duration{2, 4, 5, 5} {
			if got := p.sleep / time.Microsecond; got != want {
				t.Fatalf("about to sleep %d µs, want %d", got, want)
			}
			must(t, within(t, "Wait", p.Wait))
		}
		p.Busy()
		must(t, within(t, "Wait", p.Wait))
		if p.sleep != p.min {
			t.Fatalf("about to sleep %v after work was found, want %v", p.sleep, p.min)
		}
	}
}

func TestPollBusyReturnsAtOnce(t *testing.T) {
	p := newPoll(t, time.Hour, time.Hour)
	p.Busy()
	must(t, within(t, "Wait after Busy", func() error {
		for range 1000 {
			if err := p.Wait(); err != nil {
				return err
			}
		}
		return nil
	}))
	must(t, p.Close())
	wantErr(t, p.Wait(), ErrClosed) // also while it spins
}

func TestPollSleepsWithoutBusy(t *testing.T) {
	p := newPoll(t, time.Hour, time.Hour)
	done := waitParked(t, p)
	p.Busy() // does not end a sleep: whoever looks is awake
	select {
	case err := <-done:
		t.Fatalf("Wait returned %v", err)
	default:
	}
	p.Wake()
	must(t, finished(t, "Wait", done))
}

// After a sleep that Wake cut short, the next one is a whole one again.
func TestPollSleepAfterWake(t *testing.T) {
	p := newPoll(t, time.Hour, time.Hour)
	for range 3 {
		done := waitParked(t, p)
		p.Wake()
		must(t, finished(t, "Wait", done))
	}
}

func TestPollRaise(t *testing.T) {
	must(t, newPoll(t, 1, 1).Raise()) // the peer polls as well
	broken := errors.New("the register is gone")
	l, err := NewPoll(1, 1, func() error { return broken })
	must(t, err)
	defer l.Close()
	wantErr(t, l.Raise(), broken)
}
