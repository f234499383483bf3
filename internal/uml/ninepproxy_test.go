package uml

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// proxy is a 9P device that understands nothing but sizes: each message goes to a server's socket,
// and what the server answers comes back.
type proxy struct {
	tag    string
	socket string
}

var _ virtio.Backend = (*proxy)(nil)

func (p *proxy) Info() virtio.Info {
	return virtio.Info{ID: virtio.ID9P, Features: virtio.FeatureSet(0), Queues: []uint16{0}, ConfigLen: 2 + len(p.tag)}
}

func (p *proxy) ReadConfig(b []byte, off int) {
	config := binary.LittleEndian.AppendUint16(nil, uint16(len(p.tag)))
	copy(b, append(config, p.tag...)[off:])
}

func (p *proxy) Serve(ctx context.Context, s *virtio.Session) error {
	conn, err := net.Dial("unix", p.socket)
	if err != nil {
		return err
	}
	x := &exchange{conn: conn, waiting: map[uint16]*waiting{}}
	ended := make(chan struct{})
	go func() {
		x.replies()
		close(ended)
	}()
	err = s.Queue(0).HandleParallel(ctx, x.serve)
	conn.Close()
	<-ended
	return err
}

// An exchange is a connection to a server.
type exchange struct {
	conn    net.Conn
	sending sync.Mutex
	mu      sync.Mutex
	waiting map[uint16]*waiting // by tag; nil when no more replies come
}

// waiting is a request whose reply is waited for. An empty reply is none.
type waiting struct {
	flushes uint16 // what it calls off, if it is a Tflush
	flush   bool
	reply   chan []byte
}

const tflush = 108

func (x *exchange) serve(c *vring.Chain) error {
	request := make([]byte, c.Readable())
	if _, err := io.ReadFull(c, request); err != nil {
		return err
	}
	w := &waiting{reply: make(chan []byte, 1)}
	if request[4] == tflush {
		w.flush, w.flushes = true, binary.LittleEndian.Uint16(request[7:])
	}
	x.mu.Lock()
	if x.waiting == nil {
		x.mu.Unlock()
		return net.ErrClosed
	}
	x.waiting[binary.LittleEndian.Uint16(request[5:])] = w
	x.mu.Unlock()
	x.sending.Lock()
	_, err := x.conn.Write(request[:binary.LittleEndian.Uint32(request)])
	x.sending.Unlock()
	if err != nil {
		return err
	}
	_, err = c.Write(<-w.reply)
	return err
}

// replies gives each reply to the one that waits for it, until the connection ends.
func (x *exchange) replies() {
	in := bufio.NewReaderSize(x.conn, 1<<17)
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			break
		}
		reply := make([]byte, max(7, binary.LittleEndian.Uint32(size[:])))
		copy(reply, size[:])
		if _, err := io.ReadFull(in, reply[4:]); err != nil {
			break
		}
		x.deliver(reply)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, w := range x.waiting {
		w.reply <- nil
	}
	x.waiting = nil
}

func (x *exchange) deliver(reply []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	tag := binary.LittleEndian.Uint16(reply[5:])
	w := x.waiting[tag]
	if w == nil {
		return
	}
	delete(x.waiting, tag)
	if old := x.waiting[w.flushes]; w.flush && old != nil { // the server will not answer it any more
		delete(x.waiting, w.flushes)
		old.reply <- nil
	}
	w.reply <- reply
}

// startDiod serves dir with Debian's 9P server until the test ends, and returns its socket.
func startDiod(t testing.TB, tools, dir string) string {
	t.Helper()
	socket := filepath.Join(shortDir(t), "diod")
	program := filepath.Join(tools, "usr/sbin/diod")
	if !exists(program) {
		program = "/usr/sbin/diod"
	}
	cmd := exec.Command(program, "-f", "-n", "-N", "-c", "/dev/null", "-l", socket, "-e", dir, "-L", "stderr")
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(tools, "usr/lib/x86_64-linux-gnu")+":"+filepath.Join(tools, "lib/x86_64-linux-gnu"))
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	assert.NilError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("diod: %s", &log)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return socket
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("diod: %v: %s", err, &log)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal(errors.Join(fmt.Errorf("diod does not listen: %s", &log), err))
		}
	}
}
