package console

import (
	"errors"
	"io"
	"net"
	"time"
)

// Stream makes an Endpoint of a reader and a writer, whether they block or not; nil is no
// input, or output that goes nowhere. A goroutine does the writing: up to 4 KiB are on their
// way to w when the driver gets its buffer back. Close waits for these for a second, and
// closes neither of the two.
func Stream(r io.Reader, w io.Writer) Endpoint {
	if r == nil {
		r = eof{}
	}
	if w == nil {
		w = io.Discard
	}
	s := &stream{r: r, finished: make(chan struct{})}
	var out net.Conn
	s.Conn, out = net.Pipe() // its deadlines are what w lacks
	go s.write(w, out)
	return s
}

type stream struct {
	net.Conn // Write, SetWriteDeadline
	r        io.Reader
	finished chan struct{} // closed when nothing is written any more
	err      error         // why, before finished
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

func (s *stream) write(w io.Writer, out net.Conn) {
	defer close(s.finished)
	defer out.Close()
	var b [4 << 10]byte
	for {
		n, err := out.Read(b[:])
		if err != nil {
			return
		}
		if _, s.err = w.Write(b[:n]); s.err != nil {
			return
		}
	}
}

func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if errors.Is(err, io.ErrClosedPipe) {
		<-s.finished
		if s.err != nil {
			err = s.err
		}
	}
	return n, err
}

// farewell is how long Close waits for the last bytes.
const farewell = time.Second

func (s *stream) Close() error {
	err := s.Conn.Close()
	select {
	case <-s.finished:
	case <-time.After(farewell):
	}
	return err
}
