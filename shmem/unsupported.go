//go:build !(amd64 || arm64)

package shmem

// Load16 needs a little-endian machine; Fence.StoreLoad needs one whose atomic stores and loads
// have been seen to be in order, and the copies of Device memory a look at what the compiler
// makes of them. So another machine is refused here, at compile time.
var _ = shmem_supports_only_amd64_and_arm64
