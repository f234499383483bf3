package shmem

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// routines are the functions that touch shared memory under the rules of Device memory, and
// what each does with memory that is not its stack: every instruction once for each time it is
// there, sorted. Loads of one and of eight bytes are left out, since the routines use them on
// structures of their own, the Region's width and its pointers.
var routines = map[string]string{
	"(*Fence).StoreLoad":    "store-release4",
	"(*Region).readDevice":  "load2 load4 store1 store2 store4 store8",
	"(*Region).writeDevice": "load2 load4 store1 store2 store4 store8",
	"(*Region).zeroDevice":  "store1 store2 store4 store8",
	"Span.Load16":           "load-acquire4",
	"Span.Load16Plain":      "load2",
	"Span.Load32":           "load-acquire4",
	"Span.Load64Plain":      "load-acquire4 load-acquire4",
	"Span.Store16Plain":     "store2",
	"Span.Store32":          "store-release4",
	"Span.Store32Plain":     "store4",
	"Span.Store64Plain":     "store-release4 store-release4 store8",
}

// TestLanes_ARM64Disassembly looks at what the compiler makes of the access routines for arm64,
// since no machine the tests run on would show it: neither the strict Region nor QEMU refuses a
// DC ZVA or an exclusive access, or notices two accesses that the compiler joined into one.
func TestLanes_ARM64Disassembly(t *testing.T) {
	functions := disassemble(t)
	for name, want := range routines {
		code, ok := functions[name]
		if !ok {
			t.Errorf("%s is not in the archive", name)
			continue
		}
		var got []string
		for _, in := range code {
			switch {
			case in.call != "" && !harmless.MatchString(in.call):
				t.Errorf("%s calls %s", name, in.call)
			case in.access == "" || in.base == stackPointer || in.base == goroutine:
			case in.access != "load1" && in.access != "load8":
				got = append(got, in.access)
			}
		}
		slices.Sort(got)
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s: %s\n want %s", name, got, want)
		}
	}

	cas := functions["Span.CompareAndSwap32"]
	if !slices.ContainsFunc(cas, instruction.isAtomic) {
		t.Error("Span.CompareAndSwap32 has no exclusive or atomic access: the test cannot tell them")
	}
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		for _, in := range functions[name] {
			if in.access == "cache" || in.isAtomic() && name != "Span.CompareAndSwap32" {
				t.Errorf("%s: %s: %s", name, in.access, in.text)
			}
		}
	}
}

// harmless are the calls of an access routine that do not touch shared memory.
var harmless = regexp.MustCompile(`^runtime\.(morestack|panic|gopanic)|shmem\.\(\*Strict\)\.check$`)

type instruction struct {
	access string // what it does to memory: "" for nothing, else a name from encodings and the bytes
	base   uint32 // the register that holds the address
	call   string // what it calls
	text   string
}

func (in instruction) isAtomic() bool { return in.access == "exclusive" || in.access == "atomic" }

const (
	goroutine    = 28 // registers with a role of their own in Go
	stackPointer = 31
)

// encodings tell loads and stores by the bits of an instruction (Arm ARM, C4.1), because the Go
// disassembler has no name for some of them. The first that fits counts.
var encodings = []struct {
	mask, bits uint32
	access     string
	sized      bool // the two highest bits are the logarithm of the bytes
}{
	{0x3fe08000, 0x08c08000, "load-acquire", true},   // LDAR
	{0x3fe08000, 0x08808000, "store-release", true},  // STLR
	{0x3f000000, 0x08000000, "exclusive", false},     // LDXR, STXR and so on, CAS
	{0x3fe0fc00, 0x38a0c000, "load-acquirePC", true}, // LDAPR, too weak after a store-release
	{0x3f200c00, 0x38200000, "atomic", false},        // LDADD, SWP and so on
	{0x3a000000, 0x28000000, "pair", false},          // LDP, STP
	{0x3e000000, 0x3c000000, "vector", false},        // a register of 128 bits or less
	{0x3a400000, 0x38400000, "load", true},
	{0x3ac00000, 0x38800000, "load", true}, // signed
	{0x3a000000, 0x38000000, "store", true},
	{0x0a000000, 0x08000000, "other", false}, // all other loads and stores
	{0xfff8f000, 0xd5087000, "cache", false}, // DC
}

func decode(word uint32) (access string, base uint32) {
	for _, e := range encodings {
		if word&e.mask != e.bits {
			continue
		}
		access, base = e.access, word>>5&31
		if e.sized {
			access += strconv.Itoa(1 << (word >> 30))
		}
		return access, base
	}
	return "", 0
}

// disassemble compiles this package for arm64 and returns its functions that deal with shared
// memory, by their names without the package.
func disassemble(t *testing.T) map[string][]instruction {
	goTool, err := exec.LookPath("go")
	if err != nil {
		cannotRun(t, "the go tool is not in PATH: what it makes for arm64 cannot be looked at")
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), goTool, args...)
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	archive := filepath.Join(t.TempDir(), "shmem.a")
	run("build", "-o", archive, ".")
	listing := run("tool", "objdump", archive)

	var (
		functions = map[string][]instruction{}
		ours      = regexp.MustCompile(`^TEXT [^ ]*/shmem\.(.*)\(SB\) .*/(copy|device|fence|space|span)\.go$`)
		code      = regexp.MustCompile(`^  \S+\t+0x[0-9a-f]+\t+([0-9a-f]{8})\t+([^\t]+)`)
		call      = regexp.MustCompile(`R_CALLARM64:([^\s<]+)`)
		name      string
	)
	for line := range strings.Lines(listing) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "TEXT ") {
			name = ""
			if m := ours.FindStringSubmatch(line); m != nil {
				name = m[1]
			}
			continue
		}
		m := code.FindStringSubmatch(line)
		if name == "" || m == nil {
			continue
		}
		word, err := strconv.ParseUint(m[1], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		in := instruction{text: fmt.Sprintf("%08x %s", word, strings.TrimSpace(m[2]))}
		in.access, in.base = decode(uint32(word))
		if c := call.FindStringSubmatch(line); c != nil {
			in.call = c[1]
		}
		functions[name] = append(functions[name], in)
	}
	return functions
}

// The encodings come from assemblers, not from the code under test.
func TestLanes_Decode(t *testing.T) {
	for word, want := range map[uint32]string{
		0x88dffc41: "load-acquire4",   // ldar w1, [x2]
		0xc8dffc41: "load-acquire8",   // ldar x1, [x2]
		0x889ffc41: "store-release4",  // stlr w1, [x2]
		0x885ffcdb: "exclusive",       // ldaxr w27, [x6]
		0x881bfcc5: "exclusive",       // stlxr w27, w5, [x6]
		0x88fbfcc5: "exclusive",       // casal w27, w5, [x6]
		0xf8e900ea: "atomic",          // ldaddal x9, x10, [x7]
		0xb8bfc041: "load-acquirePC4", // ldapr w1, [x2]
		0x99400041: "other",           // ldapur w1, [x2]
		0xa9008801: "pair",            // stp x1, x2, [x0, #8]
		0xa94087e0: "pair",            // ldp x0, x1, [sp, #8]
		0xad400841: "pair",            // ldp q1, q2, [x2]
		0x3dc00041: "vector",          // ldr q1, [x2]
		0x4c407041: "other",           // ld1 {v1.16b}, [x2]
		0x39404045: "load1",           // ldrb w5, [x2, #16]
		0x78656887: "load2",           // ldrh w7, [x4, x5]
		0x79800441: "load2",           // ldrsh x1, [x2, #2]
		0xb8656888: "load4",           // ldr w8, [x4, x5]
		0xf8636880: "load8",           // ldr x0, [x4, x3]
		0xf8408441: "load8",           // ldr x1, [x2], #8
		0x3823683f: "store1",          // strb wzr, [x1, x3]
		0x78236844: "store2",          // strh w4, [x2, x3]
		0xb90000df: "store4",          // str wzr, [x6]
		0xf8236820: "store8",          // str x0, [x1, x3]
		0xd50b7423: "cache",           // dc zva, x3
		0xd53bd040: "",                // mrs x0, tpidr_el0
		0x8b030041: "",                // add x1, x2, x3
		0x14000002: "",                // b
	} {
		if got, _ := decode(word); got != want {
			t.Errorf("%08x is %q, want %q", word, got, want)
		}
	}
}
