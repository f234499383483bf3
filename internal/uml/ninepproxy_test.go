package uml

import (
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
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	x := &exchange{conn: conn}
	return s.Queue(0).Handle(ctx, x.serve)
}

type exchange struct {
	conn net.Conn
	mu   sync.Mutex
	buf  []byte
}

func (x *exchange) serve(c *vring.Chain) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.buf = x.buf[:0]
	request := make([]byte, c.Readable())
	if _, err := io.ReadFull(c, request); err != nil {
		return err
	}
	if _, err := x.conn.Write(request); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(x.conn, size[:]); err != nil {
		return err
	}
	reply := make([]byte, binary.LittleEndian.Uint32(size[:]))
	copy(reply, size[:])
	if _, err := io.ReadFull(x.conn, reply[4:]); err != nil {
		return err
	}
	_, err := c.Write(reply)
	return err
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
