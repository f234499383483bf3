package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one of the demo's: the monitor, or the front-end.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // of Wait, then

	mu   sync.Mutex
	log  []string      // lines of its stderr
	more chan struct{} // closed when there is another
}

// patience is how long the demo waits for any one thing.
const patience = 10 * time.Second

// startProcess starts a process that Ctrl-C does not reach, so that the demo decides when it
// ends, and that ends with the demo. The caller is locked to its thread: the kernel looks at
// that thread's end.
func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{}), more: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.note(lines.Text())
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, line)
	close(p.more)
	p.more = make(chan struct{})
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// await waits for a line of the log that contains the text.
func (p *process) await(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it did not say %q in %v", text, patience))
	defer cancel()
	for {
		p.mu.Lock()
		log, more := p.log, p.more
		p.mu.Unlock()
		for _, line := range log {
			if strings.Contains(line, text) {
				return nil
			}
		}
		select {
		case <-more:
		case <-p.done:
			return p.ended()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ended says how a process ended that should not have.
func (p *process) ended() error {
	said := ""
	if n := len(p.log); n > 0 {
		said = ": " + p.log[n-1]
	}
	if p.err == nil {
		return fmt.Errorf("it ended%s", said)
	}
	return fmt.Errorf("it ended with %w%s", p.err, said)
}

// kill is SIGKILL; the process is gone when it returns.
func (p *process) kill() {
	p.cmd.Process.Kill() // it may be gone already
	<-p.done
}

// stop ends a process as a service manager does.
func (p *process) stop(ctx context.Context) error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		return fmt.Errorf("it did not stop in %v", patience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// worker is a process that takes orders: the front-end.
type worker struct {
	*process
	orders  *json.Encoder
	close   func() error
	answers chan answer
}

func startWorker(cmd *exec.Cmd) (*worker, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, in := io.Pipe()
	cmd.Stdout = in
	w := &worker{orders: json.NewEncoder(stdin), close: stdin.Close, answers: make(chan answer, 1)}
	if w.process, err = startProcess(cmd); err != nil {
		return nil, err
	}
	go func() {
		for lines := json.NewDecoder(out); ; {
			var a answer
			if lines.Decode(&a) != nil {
				return
			}
			w.answers <- a
		}
	}()
	go func() {
		<-w.done
		in.Close()
	}()
	return w, nil
}

// tell gives an order.
func (w *worker) tell(o order) error {
	if err := w.orders.Encode(o); err != nil {
		select {
		case <-w.done: // that is why
			return w.ended()
		case <-time.After(patience):
			return fmt.Errorf("cannot be told anything: %w", err)
		}
	}
	return nil
}

// hear waits for the answer to an order.
func (w *worker) hear(ctx context.Context) (answer, error) {
	select {
	case a := <-w.answers:
		if a.Err != "" {
			return a, errors.New(a.Err)
		}
		return a, nil
	case <-w.done:
		return answer{}, w.ended()
	case <-time.After(patience):
		return answer{}, fmt.Errorf("no answer in %v", patience)
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}

// do is an order and its answer.
func (w *worker) do(ctx context.Context, o order) (answer, error) {
	if err := w.tell(o); err != nil {
		return answer{}, err
	}
	return w.hear(ctx)
}
