//go:build !race

package virtio_test

const raceDetector = false
