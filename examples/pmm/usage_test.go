package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

const good = "file:/w,size=16M,addr=0x37000000"

// Every mistake on the command line names the flag, the value and what would be accepted, and
// ends with status 2, before anything is opened.
func TestUsageErrors(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	for _, tt := range []struct {
		name string
		args []string
		want []string // in the message
	}{
		{"no command", nil, []string{"pmm run", "pmm demo", "pmm layout", "pmm status"}},
		{"unknown command", []string{"walk"}, []string{`"walk"`, "pmm run"}},
		{"unknown flag", []string{"run", "-shared", "x"}, []string{"-shared", "pmm run -h"}},
		{"flag without value", []string{"run", "-shmem"}, []string{"-shmem", "pmm run -h"}},
		{"argument", []string{"run", "-v", "rng"}, []string{`"rng"`}},
		{"no window", []string{"run"}, []string{"-shmem", "file:PATH", "memfd:", "uio:", "devmem:"}},
		{"empty kind", withShmem(",size=1M"), []string{"-shmem", `",size=1M"`, "kind"}},
		{"unknown window", withShmem("shm:/x"), []string{`"shm:/x"`, "file:PATH"}},
		{"window without path", withShmem("file:,size=1M,addr=0x1000"), []string{"-shmem", "file:PATH"}},
		{"window without size", withShmem("file:/w,addr=0x1000"), []string{`"file:/w,addr=0x1000"`, "size", "addr"}},
		{"window without address", withShmem("memfd:size=1M"), []string{"memfd:size=1M", "addr"}},
		{"window option", withShmem("file:/w,siz=1M,addr=0x1000"), []string{"siz", "size, addr"}},
		{"window option twice", withShmem("file:/w,size=1M,size=1M,addr=0x1000"), []string{"size", "twice"}},
		{"window option without name", withShmem("file:/w,=1M"), []string{"no name", "comma"}},
		{"uio with size", withShmem("uio:window,size=1M"), []string{"uio:window,size=1M", "addr"}},
		{"uio without name", withShmem("uio:"), []string{"uio:NAME"}},
		{"decimal address", withShmem("file:/w,size=1M,addr=4096"), []string{"addr=4096", "hexadecimal", "0x"}},
		{"address too large", withShmem("file:/w,size=1M,addr=0x10000000000000000"), []string{"addr=", "hexadecimal"}},
		{"no number", withShmem("file:/w,size=big,addr=0x1000"), []string{"size=big", "K, M or G"}},
		{"negative size", withShmem("file:/w,size=-1M,addr=0x1000"), []string{"size=-1M", "K, M or G"}},
		{"size zero", withShmem("file:/w,size=0,addr=0x1000"), []string{"size=0"}},
		{"size overflows", withShmem("file:/w,size=99999999999G,addr=0x1000"), []string{"size=99999999999G"}},
		{"no whole pages", withShmem("file:/w,size=1000,addr=0x1000"), []string{"-shmem", "multiples of 4096"}},
		{"address between pages", withShmem("file:/w,size=1M,addr=0x1001"), []string{"-shmem", "multiples of 4096"}},
		{"window wraps around", withShmem("file:/w,size=1M,addr=0xfffffffffffff000"), []string{"-shmem", "wraps"}},
		{"window too small", withShmem("file:/w,size=4K,addr=0x1000"), []string{"-shmem", "-layout table", "0x1000"}},
		{"window without comma doubled", withShmem("file:/a,b,size=1M,addr=0x1000"), []string{"option b", "size, addr"}},
		{"very long", withShmem(long), []string{"-shmem", "accepted"}},

		{"unknown layout", withWindow("-device", "rng", "-layout", "tree"), []string{"-layout", `"tree"`, "table, dtb"}},
		{"dtb too large", withWindow("-device", "rng,mem=32M", "-layout", "dtb"), []string{"-layout dtb", "rng", "does not fit"}},
		{"dtb block too small", withWindow("-device", "rng,mem=4K", "-layout", "dtb"), []string{"rng", "at least"}},

		{"no doorbell", withWindow("-device", "rng"), []string{"-doorbell", "unix:PATH", "poll"}},
		{"unknown doorbell", withWindow("-device", "rng", "-doorbell", "bell"), []string{"-doorbell", `"bell"`, "unix:PATH"}},
		{"doorbell without path", withWindow("-device", "rng", "-doorbell", "unix:"), []string{"unix:PATH"}},
		{"doorbell option", withWindow("-device", "rng", "-doorbell", "unix:/x,y=1"), []string{"unix takes no options"}},
		{"poll interval", withWindow("-device", "rng", "-doorbell", "poll:often"), []string{`"often"`, "poll:500us"}},
		{"poll interval zero", withWindow("-device", "rng", "-doorbell", "poll:0s"), []string{`"0s"`}},

		{"no device", withWindow("-doorbell", "poll"), []string{"-device", "rng", "console"}},
		{"unknown device", withDevice("gpu"), []string{"-device", `"gpu"`, "rng", "console"}},
		{"device with address", withDevice("rng:1"), []string{`"rng:1"`, "comma"}},
		{"device option", withDevice("rng,speed=1"), []string{"speed", "rate, mem"}},
		{"rate", withDevice("rng,rate=fast"), []string{"rate=fast", "K, M or G"}},
		{"rate twice", withDevice("rng,rate=1,rate=2"), []string{"rate", "twice"}},
		{"mem", withDevice("rng,mem=x"), []string{"mem=x"}},
		{"console without end", withDevice("console"), []string{"stdio", "pty", "unix=PATH", "file=PATH"}},
		{"console with two ends", withDevice("console,pty,unix=/x"), []string{"exactly one"}},
		{"console with one end twice", withDevice("console,unix=/x,unix=/y"), []string{"unix", "twice"}},
		{"console without path", withDevice("console,unix"), []string{"unix=PATH"}},
		{"console with empty path", withDevice("console,file="), []string{"file=PATH"}},
		{"stdio with value", withDevice("console,stdio=1"), []string{"stdio takes no value"}},
		{"escape", withDevice("console,stdio,escape=Ctrl-A"), []string{"escape=Ctrl-A", "^]"}},
		{"escape that is no key", withDevice("console,stdio,escape=^1"), []string{"escape=^1"}},
		{"escape without stdio", withDevice("console,pty,escape=^A"), []string{"escape", "stdio"}},
		{"9p without tag", withDevice("9p,dir=/"), []string{"tag=TAG", "dir=PATH"}},
		{"9p without directory", withDevice("9p,tag=x"), []string{"dir=PATH"}},
		{"9p with a long tag", withDevice("9p,dir=/,tag=" + strings.Repeat("x", 256)), []string{"255 bytes"}},
		{"9p option", withDevice("9p,tag=x,dir=/,rw"), []string{"rw", "tag, dir, ro, squash, mem"}},
		{"ro with value", withDevice("9p,tag=x,dir=/,ro=1"), []string{"ro takes no value"}},
		{"squash", withDevice("9p,tag=x,dir=/,squash=root"), []string{"squash=root", "1000:1000"}},
		{"squash of one", withDevice("9p,tag=x,dir=/,squash=1000"), []string{"squash=1000"}},
		{"vsock without cid", withDevice("vsock"), []string{"cid=N", "from 3", "forward=tcp:LISTEN:GUESTPORT"}},
		{"vsock with the host's cid", withDevice("vsock,cid=2"), []string{"vsock,cid=2", "from 3 to 4294967294"}},
		{"vsock with nobody's cid", withDevice("vsock,cid=0xffffffff"), []string{"from 3 to 4294967294"}},
		{"vsock with a large cid", withDevice("vsock,cid=0x100000000"), []string{"from 3 to 4294967294"}},
		{"vsock option", withDevice("vsock,cid=3,port=1"), []string{"port", "cid, unix, host, forward, reverse, mem"}},
		{"cid twice", withDevice("vsock,cid=3,cid=4"), []string{"cid", "twice"}},
		{"vsock without path", withDevice("vsock,cid=3,unix="), []string{"unix=PATH"}},
		{"host with value", withDevice("vsock,cid=3,host=1"), []string{"host takes no value"}},
		{"forward of nothing", withDevice("vsock,cid=3,forward"), []string{"forward=:", "tcp:LISTEN:GUESTPORT"}},
		{"forward of another kind", withDevice("vsock,cid=3,forward=udp:127.0.0.1:1:2"), []string{"forward=udp:127.0.0.1:1:2", "tcp:127.0.0.1:3333:2331"}},
		{"forward without port", withDevice("vsock,cid=3,forward=tcp:127.0.0.1:3333"), []string{"tcp:LISTEN:GUESTPORT"}},
		{"forward to no number", withDevice("vsock,cid=3,forward=tcp:127.0.0.1:3333:gdb"), []string{"tcp:LISTEN:GUESTPORT"}},
		{"forward to port 0", withDevice("vsock,cid=3,forward=tcp:127.0.0.1:3333:0"), []string{"tcp:LISTEN:GUESTPORT"}},
		{"forward to any port", withDevice("vsock,cid=3,forward=tcp:127.0.0.1:3333:4294967295"), []string{"tcp:LISTEN:GUESTPORT"}},
		{"reverse the wrong way round", withDevice("vsock,cid=3,reverse=tcp:127.0.0.1:1:2"), []string{"reverse=tcp:127.0.0.1:1:2", "80:tcp:127.0.0.1:8080"}},
		{"reverse to no address", withDevice("vsock,cid=3,reverse=80:tcp:localhost"), []string{"GUESTPORT:tcp:ADDRESS"}},
		{"reverse twice", withDevice("vsock,cid=3,reverse=80:tcp:a:1,reverse=80:tcp:b:1"), []string{"reverse=80:tcp:b:1", "taken"}},
		{"port without name", withDevice("console,pty,port=:pty"), []string{"port=:pty", "name"}},
		{"port without end", withDevice("console,pty,port=a"), []string{"port=a", "pty[=LINK], unix=PATH"}},
		{"port on the terminal", withDevice("console,pty,port=a:stdio"), []string{"port=a:stdio", "unix=PATH"}},
		{"port without path", withDevice("console,pty,port=a:unix"), []string{"port=a:unix", "a:unix=PATH"}},
		{"port twice", withDevice("console,pty,port=a:pty,port=a:pty"), []string{"port=a:pty", "taken"}},
		{"terminal twice", withDevice("console,stdio", "-device", "console,stdio"), []string{"-device", "terminal"}},
		{"too many devices", withDevice("rng", strings.Fields(strings.Repeat("-device rng ", 8))...), []string{"9 devices", "8"}},

		{"status", withDevice("rng", "-status", "tcp:80"), []string{"-status", `"tcp:80"`, "unix:PATH"}},
		{"log", withDevice("rng", "-log", "xml"), []string{"-log", `"xml"`, "text, json"}},
		{"offer", withDevice("rng", "-offer", "indirect,packed"), []string{"-offer", `"packed"`, "event-idx, indirect"}},
		{"spin", withDevice("rng", "-spin", "-1s"), []string{"-spin", `"-1s"`}},
		{"no such configuration", []string{"run", "-config", "/does/not/exist"}, []string{"-config", "/does/not/exist"}},

		{"unknown format", []string{"layout", "-format", "pdf"}, []string{"-format", `"pdf"`, "text, svg, dts, dtb, zephyr, c"}},
		{"tree of a window that describes itself", []string{
			"layout", "-format", "dts", "-layout", "v2", "-shmem", "devmem:addr=0x37000000,size=1M", "-device", "rng",
		}, []string{"-format", "text, svg, c"}},
		{"layout of unknown memory", []string{"layout", "-shmem", "uio:window", "-device", "rng"}, []string{"uio:window", "devmem:addr=ADDR"}},
		{"status of nobody", []string{"status"}, []string{"-status", "unix:PATH"}},
		{"demo with argument", []string{"demo", "fast"}, []string{`"fast"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, err strings.Builder
			assert.Equal(t, run(tt.args, &out, &err), 2, "%s", &err)
			assert.Check(t, is.Equal(out.String(), ""))
			for _, want := range tt.want {
				assert.Check(t, is.Contains(err.String(), want))
			}
		})
	}
}

func withShmem(spec string) []string {
	return []string{"run", "-device", "rng", "-doorbell", "poll", "-shmem", spec}
}
func withWindow(more ...string) []string { return append([]string{"run", "-shmem", good}, more...) }
func withDevice(spec string, more ...string) []string {
	return append(withWindow("-doorbell", "poll", "-device", spec), more...)
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}, {"run", "-h"}, {"layout", "--help"}, {"status", "-h"}, {"demo", "-help"}} {
		var out, err strings.Builder
		assert.Check(t, is.Equal(run(args, &out, &err), 0), "%q", args)
		assert.Check(t, is.Equal(err.String(), ""), "%q", args)
		assert.Check(t, is.Contains(out.String(), "pmm"), "%q", args)
	}
}

// A configuration file says what the flags say; flags win, wherever they stand.
func TestConfigFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pmm.json")
	write := func(text string) { assert.NilError(t, os.WriteFile(file, []byte(text), 0o600)) }
	read := func(args ...string) (config, error) {
		c, help, err := parseConfig("run", "", args, nil, nil)
		assert.Check(t, !help)
		return c, err
	}
	write(`{"shmem": "` + good + `", "layout": "dtb", "doorbell": "poll:2ms", "device": ["rng", "console,pty"],
		"status": "unix:/s", "log": "json", "v": true, "wipe": true, "plain-store": true, "isolate": true, "clear-idle": true, "offer": "indirect", "spin": "50us"}`)
	c, err := read("-config", file)
	assert.NilError(t, err)
	flags, err := read("-shmem", good, "-layout", "dtb", "-doorbell", "poll:2ms", "-device", "rng", "-device", "console,pty",
		"-status", "unix:/s", "-log", "json", "-v", "-wipe", "-plain-store", "-isolate", "-clear-idle", "-offer", "indirect", "-spin", "50us")
	assert.NilError(t, err)
	assert.DeepEqual(t, c, flags, cmpConfig)

	c, err = read("-layout", "table", "-wipe=false", "-config", file, "-device", "rng", "-spin", "0")
	assert.NilError(t, err)
	flags.layout, flags.wipe, flags.spin = "table", false, 0
	flags.devices = append(flags.devices, "rng")
	assert.DeepEqual(t, c, flags, cmpConfig)

	write(`{}`)
	c, err = read("-config", file)
	assert.NilError(t, err)
	assert.DeepEqual(t, c, config{layout: "table", log: "text"}, cmpConfig)

	for name, tt := range map[string]struct{ text, want string }{
		"not JSON":       {`shmem: x`, "object"},
		"unknown key":    {`{"shmen": "x"}`, `"shmen"`},
		"config inside":  {`{"config": "x"}`, `"config"`},
		"wrong type":     {`{"device": "rng"}`, "device"},
		"no duration":    {`{"spin": "soon"}`, "soon"},
		"something else": {`{} {}`, "follows"},
		"cut off":        {`{"shmem": `, "EOF"},
	} {
		write(tt.text)
		_, err := read("-config", file)
		assert.Check(t, is.ErrorContains(err, tt.want), name)
		assert.Check(t, is.ErrorContains(err, file), name)
		var bad *usageError
		assert.Check(t, is.ErrorType(err, bad), name)
	}
}
