module github.com/hypervisorless/virtio

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/hugelgupf/p9 v0.4.1
	github.com/mdlayher/vsock v1.4.0
	golang.org/x/sys v0.49.0
	gotest.tools/v3 v3.5.2
)

require (
	github.com/mdlayher/socket v0.8.0 // indirect
	github.com/u-root/uio v0.0.0-20230305220412-3e8cd9d6bf63 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
)
