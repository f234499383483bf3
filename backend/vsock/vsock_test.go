package vsock

import (
	"io"
	"testing"

	"gotest.tools/v3/assert"
)

func TestEcho(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var m Mux
		m.Handle(service, echo)
		l := newLink(t, Options{Router: &m})
		l.connect()
		l.send(l.from(opData, "hello"))
		assert.Equal(t, l.expect(opData).data, "hello")
		l.op(opShutdown, shutSend)
		p := l.expect(opShutdown)
		assert.Equal(t, p.flags, uint32(shutBoth)) // CloseWrite of io.Copy's, or Close
		l.op(opReset, 0)
	})
}

func TestAccept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{})
		c := l.accepted()
		l.send(l.from(opData, "hello"))
		b := make([]byte, 10)
		n, err := c.Read(b)
		assert.NilError(t, err)
		assert.Equal(t, string(b[:n]), "hello")
		l.op(opShutdown, shutSend)
		_, err = c.Read(b)
		assert.Equal(t, err, io.EOF)
	})
}
