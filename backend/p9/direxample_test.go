package p9_test

import (
	"fmt"
	"os"

	lib "github.com/hugelgupf/p9/p9"

	"github.com/hypervisorless/virtio/backend/p9"
)

// A directory is exported to be read only. This is what a device does with it when a driver
// opens a file.
func ExampleDir() {
	dir, err := os.MkdirTemp("", "export")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(dir+"/hello", []byte("hello, driver"), 0o644); err != nil {
		fmt.Println(err)
		return
	}

	export, err := p9.Dir(dir, p9.DirOptions{ReadOnly: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer export.Close()
	root, err := export.Attach()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer root.Close()

	_, file, err := root.Walk([]string{"hello"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	_, _, err = file.Open(lib.ReadWrite)
	fmt.Println("to write:", err)
	if _, _, err := file.Open(lib.ReadOnly); err != nil {
		fmt.Println(err)
		return
	}
	b := make([]byte, 64)
	n, _ := file.ReadAt(b, 0)
	fmt.Printf("%s\n", b[:n])
	_, _, err = root.Walk([]string{".."})
	fmt.Println("the parent:", err)
	// Output:
	// to write: read-only file system
	// hello, driver
	// the parent: invalid argument
}
