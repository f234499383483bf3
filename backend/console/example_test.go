package console_test

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/hypervisorless/virtio/backend/console"
)

// A console and a byte channel; the host's ends are whatever speaks like a connection.
func Example() {
	tty, _ := net.Pipe()
	agent, _ := net.Pipe()
	d, err := console.New(console.Options{Ports: []console.Port{
		{Endpoint: tty},
		{Name: "org.example.agent", Endpoint: agent},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	d.Resize(0, 132, 43)

	// This is what a transport shows to the driver.
	info := d.Info()
	config := make([]byte, info.ConfigLen)
	d.ReadConfig(config, 0)
	fmt.Println(info.ID, "with", len(info.Queues), "queues, features", info.Features)
	fmt.Println(binary.LittleEndian.Uint16(config), "columns,", binary.LittleEndian.Uint16(config[2:]), "rows,",
		binary.LittleEndian.Uint32(config[4:]), "ports")
	// Output:
	// console with 6 queues, features {0,1}
	// 132 columns, 43 rows, 2 ports
}
