package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// serveStatus answers each connection to the -status socket with one report. Closing the result
// ends it.
func (m *monitor) serveStatus() (io.Closer, error) {
	l, err := listenUnix(strings.TrimPrefix(m.plan.status, "unix:"))
	if err != nil {
		return nil, fmt.Errorf("-status %q: %w", m.plan.status, err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				m.log.Warn("status socket", "err", err)
				time.Sleep(time.Second) // for want of descriptors: they may come back
				continue
			}
			conn.SetWriteDeadline(time.Now().Add(time.Second)) // a reader that stalls delays the next, no more
			json.NewEncoder(conn).Encode(m.report())           // its error is the reader's loss
			conn.Close()
		}
	}()
	return l, nil
}

// listenUnix listens at path, in place of a monitor that was killed. Two monitors of one
// window cannot race here: the window's lock comes first.
func listenUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if !errors.Is(err, unix.EADDRINUSE) {
		return l, err
	}
	if conn, dialErr := net.Dial("unix", path); !errors.Is(dialErr, unix.ECONNREFUSED) {
		if dialErr == nil {
			conn.Close()
		}
		return nil, err
	}
	if info, statErr := os.Lstat(path); statErr != nil || info.Mode()&os.ModeSocket == 0 {
		return nil, err // a file that is no socket refuses connections too
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

func statusCommand(args []string, stdout, _ io.Writer) error {
	fs := newFlagSet("status", "pmm status: ask a running monitor over its status socket")
	socket := fs.String("status", "", "the monitor's -status: "+statusKinds)
	asJSON := fs.Bool("json", false, "print JSON")
	if help, err := parse(fs, args, stdout); help || err != nil {
		return err
	}
	path, ok := strings.CutPrefix(*socket, "unix:")
	if !ok || path == "" {
		return refuse("status", *socket, statusKinds)
	}
	r, err := askStatus(path)
	if err != nil {
		return err
	}
	if !*asJSON {
		return r.print(stdout)
	}
	e := json.NewEncoder(stdout)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// askStatus asks the monitor that serves the socket.
func askStatus(path string) (r statusReport, err error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return r, fmt.Errorf("no monitor answers: %w", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return r, fmt.Errorf("%s is not a monitor's status socket: %w", path, err)
	}
	return r, nil
}
