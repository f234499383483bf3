package console

import (
	"os"

	"golang.org/x/sys/unix"
)

// raw makes every byte that is typed come through at once and as it is. What is printed is
// left alone.
func raw(t *unix.Termios) {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON | unix.INPCK
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

// terminal is a terminal in raw mode and the way back.
type terminal struct {
	*hostFile
	before unix.Termios
}

// openTerminal puts f into raw mode if it is a terminal; else it returns nil. Where signals is
// set, the keys that send signals keep doing so.
func openTerminal(f *os.File, signals bool) (*terminal, error) {
	h, err := newHostFile(f)
	if err != nil {
		return nil, err
	}
	t := &terminal{hostFile: h}
	err = h.control(func(fd int) error {
		now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			t = nil // not a terminal
			return nil
		}
		t.before = *now
		raw(now)
		if signals {
			now.Lflag |= t.before.Lflag & unix.ISIG
		}
		return os.NewSyscallError("TCSETS", unix.IoctlSetTermios(fd, unix.TCSETS, now))
	})
	return t, err
}

// restore puts the terminal back into the mode it was in.
func (t *terminal) restore() error {
	return t.control(func(fd int) error {
		return os.NewSyscallError("TCSETS", unix.IoctlSetTermios(fd, unix.TCSETS, &t.before))
	})
}

// window is the size of the terminal, 0, 0 if it does not know.
func (t *terminal) window() (w window) {
	t.control(func(fd int) error {
		size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil {
			w = window{size.Col, size.Row}
		}
		return err
	})
	return w
}
